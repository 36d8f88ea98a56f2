import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const root = join(import.meta.dirname, "../..");

/** A descriptor image of .proto files in a temporary file, made by the real compiler. */
export interface DescriptorImage extends AsyncDisposable {
  readonly path: string;
}

/**
 * Compiles the .proto files of a folder, which may import `buf/validate`.
 *
 * @param folder relative to the repository.
 * @param flags further ones for `buf build`.
 */
export async function buildImage(folder: string, ...flags: readonly string[]): Promise<DescriptorImage> {
  if (!existsSync(join(root, "node_modules/.protos/buf/validate/validate.proto"))) {
    await run(process.execPath, [join(root, "test/scripts/third-party-protos.ts")]);
  }
  const target = await mkdtemp(join(tmpdir(), "parley-image-"));
  const path = join(target, "image.binpb");
  const config = JSON.stringify({ version: "v2", modules: [{ path: folder }, { path: "node_modules/.protos" }] });
  await run(join(root, "node_modules/.bin/buf"), ["build", "--config", config, "-o", path, ...flags], { cwd: root });
  return { path, [Symbol.asyncDispose]: () => rm(target, { recursive: true }) };
}
