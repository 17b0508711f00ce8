// Commands that prepare and look after a project.

import { join } from "node:path";
import * as vscode from "vscode";
import type { Devsync } from "./client.ts";
import type { Status } from "./model.ts";
import { ask, say } from "./ports.ts";
import { chosen, type Projects } from "./projects.ts";
import { count, facts, linkText } from "./text.ts";

const PROVIDERS = [
  { label: "colab", detail: "A Colab runtime, through Google's own SSH endpoint" },
  { label: "relay", detail: "A Colab VM that calls in to a server of yours" },
  { label: "ngrok", detail: "A Colab VM behind an ngrok tunnel" },
  { label: "direct", detail: "Any SSH server: host and port" },
  { label: "sandbox", detail: "A folder of this machine plays the VM; to try things" },
];
const EDITORS = ["vscode", "pycharm", "neovim", "emacs", "helix", "zed"];
const PASTE = "Paste what the notebook printed: ssh -p 12345 root@host, or devsync://...";

type Written = { files: { path: string; state: string; reason?: string }[]; steps: string[] };
type Check = { name: string; ok: boolean | null; message: string; hint: string };

export function setupCommands(devsync: Devsync, projects: Projects) {
  let report: vscode.OutputChannel | undefined;
  const print = (...lines: string[]) => {
    report ??= vscode.window.createOutputChannel("Colab VM: Report");
    report.replace(`${lines.join("\n")}\n`);
    report.show(true);
  };
  return {
    connect: (folder: string) => devsync.job("connect", { folder }),
    connectTo: async (folder: string) => devsync.job("connect", { folder, endpoint: await ask(PASTE, "") }),
    disconnect: async (folder: string) => projects.update(await devsync.command<Status>("disconnect", { folder })),
    sync: async (folder: string) => {
      const { files } = await devsync.job<{ files: number }>("sync", { folder });
      say(`$(check) ${files ? `${count(files, "file")} sent to the VM` : "The VM is up to date"}`);
    },
    check: async (folder: string) => {
      const { paths } = await devsync.job<{ paths: string[] }>("sync", { folder, check: true });
      print(paths.length ? "These differ from the VM:" : "Nothing differs from the VM.", ...paths);
    },
    status: async (folder: string) => {
      const status = await devsync.command<Status>("status", { folder });
      projects.update(status);
      print(`${status.name}: ${linkText(status)}`, ...facts(status).map(([name, value]) => name.padEnd(12) + value));
    },
    doctor: async (folder: string) => {
      const { checks } = await devsync.job<{ checks: Check[] }>("doctor", { folder });
      const line = ({ name, ok, message, hint }: Check) =>
        `${ok ? "ok  " : ok === false ? "FAIL" : "-   "} ${name}: ${message}${hint && !ok ? `\n     ${hint}` : ""}`;
      print(...checks.map(line));
    },
    init: async (folder: string) => {
      const title = "How is the VM reached?";
      const { label: provider } = chosen(await vscode.window.showQuickPick(PROVIDERS, { title }));
      const address = provider === "direct" ? await ask("Host and port", "203.0.113.7:22") : undefined;
      const [host, port] = address?.split(":") ?? [];
      const args = { folder, provider, ...(address && { host, port: Number(port ?? 22) }) };
      await open((await devsync.command<{ path: string }>("init", args)).path);
    },
    openConfig: (folder: string) => open(join(folder, ".colabremote.toml")),
    notebook: async (folder: string) => open((await devsync.job<{ path: string }>("notebook", { folder })).path),
    setup: async (folder: string) => {
      const editor = chosen(await vscode.window.showQuickPick(EDITORS, { title: "Set up which editor?" }));
      const { files, steps } = await devsync.job<Written>("setup", { folder, editor });
      print(...files.map(({ path, state, reason = "" }) => `${state.padEnd(10)} ${path} ${reason}`), "", ...steps);
    },
    sshConfig: async (folder: string) => print(JSON.stringify(await devsync.job("sshConfig", { folder }), null, 2)),
  };
}

async function open(path: string): Promise<void> {
  await vscode.commands.executeCommand("vscode.open", vscode.Uri.file(path));
}
