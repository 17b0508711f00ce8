// Generated from colab_devsync/lsp/protocol.py by scripts/gen_docs.py; edit that file.
// docs/reference/lsp.md explains these messages.

export const CLI_NAME = "colab-devsync-cli", STATUS = "colabDevsync/status",
MIRRORED = "colabDevsync/mirrored", JOB = "colabDevsync/job", OUTPUT = "colabDevsync/output",
RUN = "colabDevsync/run", PULLS = "colabDevsync/pulls", PULLED = "colabDevsync/pulled",
WAIT = "colabDevsync/wait", EXEC = "colabDevsync/exec", INPUT = "colabDevsync/input",
SIGNAL = "colabDevsync/signal", RESIZE = "colabDevsync/resize", DAEMON = "colabDevsync/daemon",
ATTACH = "colabDevsync/attach", DETACH = "colabDevsync/detach", FAILED_CODE = -32000;

export interface ErrorBody {
  code?: string; message?: string; hint?: string; exitCode?: number; traceback?: string;
}
export interface Started { job: string; state: "started"; }
export interface JobBody {
  job?: string; command?: string; state?: "progress" | "done" | "failed" | "cancelled"; message?: string;
  percent?: number; files?: number; filesTotal?: number; bytes?: number; bytesTotal?: number;
  result?: Record<string, unknown>; error?: ErrorBody;
}
export interface MirroredBody { folder: string; path: string; bytes: number; ms: number; }
export interface PullsBody { folder: string; pulls: Record<string, unknown>[]; }
export interface PulledBody { folder: string; name: string; path: string; bytes: number; }
export interface OutputBody { run: string; offset: number; stream: string; text: string; }
export interface RunOutputBody { run: string; offset: number; stream: string; text: string; folder?: string; }
export interface RunBody {
  folder?: string; run?: string; state?: "starting" | "running" | "exited" | "failed" | "lost";
  exitCode?: number; kind?: string; pid?: number; signal?: string; message?: string; attached?: boolean;
  error?: ErrorBody;
}
export interface ExecStarted { run: string; job: string; state: "started"; }
export interface DaemonBody {
  pid: number; version: string; clients: number; projects: Record<string, unknown>[];
}
