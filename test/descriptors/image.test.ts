import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { loadImage, parseImage, registryOfFiles } from "../../src/descriptors/image.ts";
import { createMessageValidator, parseMessage } from "../../src/descriptors/message-json.ts";
import { buildImage, type DescriptorImage } from "../support/descriptor-image.ts";

let image: DescriptorImage;
let folder: string;
before(async () => {
  image = await buildImage("test/descriptors/fixtures");
  folder = mkdtempSync(join(tmpdir(), "parley-images-"));
});
after(async () => {
  rmSync(folder, { recursive: true });
  await image[Symbol.asyncDispose]();
});

describe("what is no image is refused with the reason", () => {
  const file = (init: object) =>
    toBinary(FileDescriptorSetSchema, create(FileDescriptorSetSchema, { file: [init] as never }));
  const rows: Record<string, readonly [bytes: Uint8Array, reason: RegExp]> = {
    nothing: [new Uint8Array(), /is no descriptor image, or is empty \(make one with: buf build/],
    "a text": [Buffer.from('syntax = "proto3";\n'), /is no descriptor image/],
    JSON: [Buffer.from('{"file":[]}'), /is no descriptor image/],
    "random bytes": [Buffer.from("0affffffffffffffffff", "hex"), /is no descriptor image/],
    "a missing import": [
      file({ name: "a.proto", dependency: ["b.proto"] }),
      /a.proto imports b.proto, which is missing/,
    ],
    "imports in a circle": [
      toBinary(
        FileDescriptorSetSchema,
        create(FileDescriptorSetSchema, {
          file: [
            { name: "a.proto", dependency: ["b.proto"] },
            { name: "b.proto", dependency: ["a.proto"] },
          ],
        }),
      ),
      /imports it in turn/,
    ],
    "an unknown type": [
      file({
        name: "a.proto",
        syntax: "proto3",
        messageType: [{ name: "A", field: [{ name: "b", number: 1, type: 11, label: 1, typeName: ".B" }] }],
      }),
      /the descriptors cannot be used: .*B/,
    ],
    "an edition of the future": [
      file({ name: "a.proto", syntax: "editions", edition: 99999 }),
      /the descriptors cannot be used/,
    ],
  };
  for (const [what, [bytes, reason]] of Object.entries(rows)) {
    test(what, () => {
      assert.throws(() => parseImage(bytes), reason);
      const path = join(folder, "image.binpb");
      writeFileSync(path, bytes);
      assert.throws(
        () => loadImage(path),
        ({ message }: Error) => message.startsWith(`${path}: `),
      );
    });
  }

  test("a file that is not there", () => {
    const path = join(folder, "none");
    assert.throws(() => loadImage(path), { message: `${path} cannot be read (ENOENT)` });
  });
});

test("an image without imports lacks no type of Google's, and no rule", async () => {
  const set = fromBinary(FileDescriptorSetSchema, readFileSync(image.path));
  const own = set.file.filter(({ name }) => !/^(google|buf)\//.test(name));
  assert.ok(own.length < set.file.length);
  const bytes = toBinary(FileDescriptorSetSchema, create(FileDescriptorSetSchema, { file: own }));
  const registry = parseImage(bytes);
  assert.ok(registry.getMessage("google.protobuf.Duration"));
  const desc = registry.getMessage("shapes.v1.Wrappers");
  assert.ok(desc);
  const validator = createMessageValidator(registry);
  assert.throws(() => parseMessage(desc, '{"ruled":6}', registry, validator), /ruled: /);
});

test("files that came one by one may be in any order, and there twice", () => {
  const { file } = fromBinary(FileDescriptorSetSchema, readFileSync(image.path));
  const bytes = file.map((one) => toBinary(FileDescriptorProtoSchema, one)).reverse();
  const registry = registryOfFiles([...bytes, ...bytes]);
  assert.ok(registry.getMessage("shapes.v1.Order"));
  assert.throws(() => registryOfFiles([Buffer.from("no descriptor")]), /a file descriptor cannot be decoded/);
});
