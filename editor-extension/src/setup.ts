// Commands that prepare and look after a project.

import { join } from "node:path";
import * as vscode from "vscode";
import choices from "./choices.json";
import type { Devsync } from "./client.ts";
import type { Status } from "./model.ts";
import { ask, runTask, say } from "./ports.ts";
import { chosen, type Projects } from "./projects.ts";
import { count, facts, hostAndPort, linkText } from "./text.ts";

/** `asks`: a key of `init` that the provider cannot do without. */
type Provider = { label: string; detail: string; asks?: { key: string; title: string; example: string } };
type Written = { files: { path: string; state: string; reason?: string }[]; steps: string[] };
type Checked = { paths: string[]; deletions: string[] };
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
    connectTo: async (folder: string) => devsync.job("connect", { folder, endpoint: await ask(choices.paste, "") }),
    disconnect: async (folder: string) => projects.update(await devsync.command<Status>("disconnect", { folder })),
    sync: async (folder: string) => {
      const { files } = await devsync.job<{ files: number }>("sync", { folder });
      say(`$(check) ${files ? `${count(files, "file")} sent to the VM` : "The VM is up to date"}`);
    },
    check: async (folder: string) => {
      const { paths, deletions } = await devsync.job<Checked>("sync", { folder, check: true });
      const line = (path: string) => path + (deletions.includes(path) ? " (to be deleted on the VM)" : "");
      print(paths.length ? "These differ from the VM:" : "Nothing differs from the VM.", ...paths.map(line));
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
    openConfig: (folder: string) => open(join(folder, ".colabremote.toml")),
    notebook: async (folder: string) => open((await devsync.job<{ path: string }>("notebook", { folder })).path),
    setup: async (folder: string) => {
      const options = { title: "Set up which editor?", ignoreFocusOut: true };
      const editor = chosen(await vscode.window.showQuickPick(choices.editors, options));
      const { files, steps } = await devsync.job<Written>("setup", { folder, editor });
      print(...files.map(({ path, state, reason = "" }) => `${state.padEnd(10)} ${path} ${reason}`), "", ...steps);
    },
    sshConfig: (folder: string) => runTask("ssh-config", folder),
  };
}

/** Asks how the VM is reached, and opens what was written. */
export async function init(devsync: Devsync, folder: string): Promise<void> {
  const options = { title: "How is the VM reached?", ignoreFocusOut: true };
  const { label: provider, asks } = chosen(await vscode.window.showQuickPick<Provider>(choices.providers, options));
  const answer = asks && { [asks.key]: await ask(asks.title, asks.example) };
  const args = { folder, provider, ...(answer?.host ? hostAndPort(answer.host) : answer) };
  await open((await devsync.command<{ path: string }>("init", args)).path);
}

async function open(path: string): Promise<void> {
  await vscode.commands.executeCommand("vscode.open", vscode.Uri.file(path));
}
