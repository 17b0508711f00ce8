// Words and numbers for people, from what the server said. Pure; test/text.test.ts.

import type { Link, Status } from "./model.ts";
import type { RunBody } from "./protocol.ts";

export function bytes(count: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  for (; count >= 1000 && unit < units.length - 1; unit += 1) count /= 1000;
  return `${unit > 0 && count < 10 ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

export function duration(seconds: number): string {
  const minutes = Math.floor(seconds / 60);
  const [days, hours] = [Math.floor(minutes / 1440), Math.floor(minutes / 60) % 24];
  return days ? `${days} d ${hours} h` : `${hours ? `${hours} h ` : ""}${minutes % 60} min`;
}

export function count(number: number, one: string): string {
  return `${number} ${one}${number === 1 ? "" : "s"}`;
}

/** "host:22", "host" and "[::1]:22", as `init` takes them. */
export function hostAndPort(text: string): { host: string; port?: number } {
  const [, bracketed, name = text, port] = /^(?:\[(.+)\]|([^:]+))(?::(\d+))?$/.exec(text.trim()) ?? [];
  return { host: bracketed ?? name, ...(port ? { port: Number(port) } : {}) };
}

/** Icon, and words. */
const LINKS: Record<Link, [string, string]> = {
  offline: ["debug-disconnect", "not connected"],
  connecting: ["sync~spin", "connecting"],
  online: ["vm-active", "connected"],
  lost: ["sync~spin", "connection lost; it comes back by itself, and your saves are sent then"],
  blocked: ["error", "cannot go on by itself"],
};

/** The status bar: link, round trip, and what still has to be sent or decided. */
export function statusText({ link, name, rttMs, pending, conflicts }: Status): string {
  const parts = [`$(${LINKS[link][0]}) ${name}`];
  if (link === "online" && rttMs !== undefined) parts.push(`${Math.round(rttMs)} ms`);
  if (link === "connecting") parts.push("connecting");
  if (link === "lost") parts.push("connection lost");
  if (link === "blocked") parts.push("needs you");
  if (pending) parts.push(`$(cloud-upload) ${pending}`);
  if (conflicts) parts.push(`$(warning) ${count(conflicts, "conflict")}`);
  return parts.join("  ");
}

export function linkText({ link, message }: Status): string {
  return LINKS[link][1] + (message && link !== "online" ? `: ${message}` : "");
}

/** Name and value: what the hover and the tree say about the VM and the mirror. */
export function facts(status: Status): [string, string][] {
  const { vm, rttMs } = status;
  const found: [string, string | undefined][] = [
    ["Address", status.target],
    ["Round trip", rttMs === undefined ? undefined : `${Math.round(rttMs)} ms`],
    ["GPU", vm ? (vm.gpu ?? "none") : undefined],
    ["Memory", vm?.ram_total ? bytes(vm.ram_total) : undefined],
    ["Disk", vm?.disk_free && vm.disk_total ? `${bytes(vm.disk_free)} of ${bytes(vm.disk_total)} free` : undefined],
    ["Up for", vm?.uptime_s === undefined ? undefined : duration(vm.uptime_s)],
    ["Python", vm?.python],
    ["Folder", vm?.root],
    ["Mirror", `${count(status.files, "file")}${status.pending ? `, ${status.pending} to send` : ""}`],
  ];
  return found.filter((one): one is [string, string] => Boolean(one[1]));
}

export function runText({ state, exitCode, signal, message, error }: RunBody): string {
  if (state === "running") return "running";
  if (state === "lost" || error) return message ?? error?.message ?? "lost with its VM";
  const how = signal ?? (exitCode === 0 ? "done" : `exit code ${exitCode ?? "unknown"}`);
  return message ? `${how}, ${message}` : how;
}

const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-Z\\-_])/g;

/** Output for an output channel, which knows neither colours nor how to go back to the
 * line's start: of a progress bar, only what stood there last is kept. */
export function plain(text: string): string {
  const clean = text.replace(ESCAPES, "").replace(/\r+\n/g, "\n").toWellFormed();
  return clean.replace(/\r+$/, "\n").replace(/[^\n]*\r/g, "");
}

/** Paths of the VM's project folder in a line of output, relative to it. */
export function links(line: string, root: string): { start: number; length: number; path: string; line?: number }[] {
  const folder = root.replace(/\/+$/, "").replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const quoted = `(?<=")${folder}/([^"]+)", line (\\d+)`;
  const bare = `${folder}/([^\\s"':,()<>]+)(?::(\\d+))?`;
  return [...line.matchAll(new RegExp(`${quoted}|${bare}`, "g"))].map(({ 0: all, 1: a, 2: b, 3: c, 4: d, index }) => {
    const number = b ?? d;
    return { start: index, length: all.length, path: a ?? c ?? "", ...(number ? { line: Number(number) } : {}) };
  });
}
