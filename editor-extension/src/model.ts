// What the server says of a project, as far as it is shown. No logic, no VS Code.

import type { RunBody } from "./protocol.ts";

type Machine = { python: string; root: string; gpu?: string; uptime_s?: number };
export type Vm = Machine & { ram_total?: number; disk_free?: number; disk_total?: number };
export type Run = RunBody & { run: string; kind: string; argv: string[] };
export type Forward = { name: string; remotePort: number; localPort: number; url: string };
export type Problem = { path: string; message: string; hint: string };
export type Conflict = { path: string; remote_copy?: string | null };
export type Link = "offline" | "connecting" | "online" | "lost" | "blocked";
export type Status = {
  folder: string;
  name: string;
  link: Link;
  target?: string;
  rttMs?: number;
  message?: string;
  pending: number;
  files: number;
  conflicts: number;
  vm?: Vm;
  problems: Problem[];
  runs: Run[];
  forwards: Forward[];
};
export type Project = { status: Status; conflicts: Conflict[] };
export type DebugTarget = {
  run?: string;
  connect: { host: string; port: number };
  prefer?: "auto" | "builtin" | "debugpy";
  configuration: Record<string, unknown>;
};
