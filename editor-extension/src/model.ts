// What the server says of a project, as far as it is shown. No logic, no VS Code.

import type { RunBody } from "./protocol.ts";

type Machine = { python: string; root: string; gpu?: string; uptime_s?: number };
export type Vm = Machine & { ram_total?: number; disk_free?: number; disk_total?: number };
export type Run = RunBody & { run: string; kind: string; argv: string[] };
export type Forward = { name: string; remotePort: number; localPort: number; url: string };
export type Problem = { path: string; message: string; hint: string };
type Counts = { here: number; waiting: number; waitingBytes: number; onlyThere: number; writing: number };
type Rule = { name: string; remote: string; local: string };
export type Pull = Rule & Counts & { state: string; newest?: string; message?: string };
export type Conflict = { path: string };
export type Link = "offline" | "connecting" | "online" | "lost" | "blocked";
type Connection = { link: Link; target?: string; rttMs?: number; message?: string; vm?: Vm };
type Mirror = { pending: number; files: number; conflicts: number; problems: Problem[] };
type Lists = { runs: Run[]; forwards: Forward[]; pulls?: Pull[] };
export type Status = Connection & Mirror & Lists & { folder: string; name: string };
export type Project = { status: Status; conflicts: Conflict[] };
type Address = { host: string; port: number };
export type DebugTarget = { run?: string; connect: Address; prefer?: string; configuration: Record<string, unknown> };
