import type { BrowserToolUseBlock, ComputerToolUseBlock } from "@anthropic-ai/sdk/resources/messages/messages.js";

/** An input for every member of a toolset, checked against the SDK's types. */
type Samples<Block extends { name: string; input: unknown }> = {
  readonly [Name in Block["name"]]: Extract<Block, { name: Name }>["input"];
};

const button = { type: "ref", ref: "ref_1" } as const;
const point = { type: "coordinate", x: 100, y: 200 } as const;
const corner = [100, 200];

export const BROWSER_SAMPLES: Samples<BrowserToolUseBlock> = {
  screenshot: {},
  navigate: { url: "https://example.com" },
  list_tabs: {},
  new_tab: {},
  switch_tab: { tab_id: "tab_1" },
  close_tab: { tab_id: "tab_1" },
  read_page: {},
  get_page_text: {},
  read_console: {},
  read_network: {},
  find: { query: "search bar" },
  form_input: { target: button, value: "text" },
  file_upload: { target: button, paths: ["report.pdf"] },
  scroll_to: { target: button },
  zoom: { region: [0, 0, 100, 100] },
  left_click: { target: point },
  right_click: { target: point },
  middle_click: { target: point },
  double_click: { target: point },
  triple_click: { target: point },
  hover: { target: point },
  left_click_drag: { from: point, target: { type: "coordinate", x: 300, y: 400 } },
  left_mouse_down: { target: point },
  left_mouse_up: { target: point },
  mouse_move: { target: point },
  scroll: { scroll_direction: "down", target: point },
  type: { text: "text" },
  key: { text: "Return" },
  hold_key: { duration: 1, text: "shift" },
  wait: { duration: 1 },
  javascript_exec: { text: "document.title" },
};

export const COMPUTER_SAMPLES: Samples<ComputerToolUseBlock> = {
  screenshot: {},
  key: { text: "Return" },
  hold_key: { duration: 1, text: "shift" },
  type: { text: "text" },
  cursor_position: {},
  mouse_move: { coordinate: corner },
  left_mouse_down: {},
  left_mouse_up: {},
  left_click: { coordinate: corner },
  left_click_drag: { start_coordinate: corner, coordinate: [300, 400] },
  right_click: { coordinate: corner },
  middle_click: { coordinate: corner },
  double_click: { coordinate: corner },
  triple_click: { coordinate: corner },
  scroll: { scroll_amount: 3, scroll_direction: "down", coordinate: corner },
  wait: { duration: 1 },
  zoom: { region: [0, 0, 100, 100] },
};
