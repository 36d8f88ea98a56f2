import type {
  BrowserMemberName,
  BrowserToolset20260801,
  ComputerMemberName,
  ComputerToolset20260801,
} from "@anthropic-ai/sdk/resources/messages/messages.js";
import { z } from "zod";
import { cacheControl } from "./common.ts";
import { exact } from "./primitives.ts";

const member = z.strictObject({ defer_loading: z.boolean().nullish(), enabled: z.boolean().nullish() }).nullish();

const browserMembers: Readonly<Record<BrowserMemberName, z.ZodType>> = {
  navigate: member,
  list_tabs: member,
  new_tab: member,
  switch_tab: member,
  close_tab: member,
  read_page: member,
  get_page_text: member,
  read_console: member,
  read_network: member,
  find: member,
  form_input: member,
  file_upload: member,
  scroll_to: member,
  screenshot: member,
  zoom: member,
  left_click: member,
  right_click: member,
  middle_click: member,
  double_click: member,
  triple_click: member,
  hover: member,
  left_click_drag: member,
  left_mouse_down: member,
  left_mouse_up: member,
  mouse_move: member,
  scroll: member,
  type: member,
  key: member,
  hold_key: member,
  wait: member,
  javascript_exec: member,
};

const computerMembers: Readonly<Record<ComputerMemberName, z.ZodType>> = {
  key: member,
  hold_key: member,
  type: member,
  cursor_position: member,
  mouse_move: member,
  left_mouse_down: member,
  left_mouse_up: member,
  left_click: member,
  left_click_drag: member,
  right_click: member,
  middle_click: member,
  double_click: member,
  triple_click: member,
  scroll: member,
  wait: member,
  screenshot: member,
  zoom: member,
};

/** How many members each toolset has. */
export const MEMBER_COUNTS = {
  browser_toolset_20260801: Object.keys(browserMembers).length,
  computer_toolset_20260801: Object.keys(computerMembers).length,
};

export const browserToolset = exact<BrowserToolset20260801>({
  type: z.literal("browser_toolset_20260801"),
  cache_control: cacheControl,
  configs: exact<Record<BrowserMemberName, unknown>>(browserMembers).nullish(),
});

export const computerToolset = exact<ComputerToolset20260801>({
  type: z.literal("computer_toolset_20260801"),
  cache_control: cacheControl,
  configs: exact<Record<ComputerMemberName, unknown>>(computerMembers).nullish(),
});
