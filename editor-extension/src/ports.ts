// What leads to the VM: its ports, terminals, tasks, and files that go there or come from it.

import { basename, relative, sep } from "node:path";
import * as vscode from "vscode";
import type { Devsync } from "./client.ts";
import type { Node } from "./nodes.ts";
import { chosen, fileOf, type Projects, type Target } from "./projects.ts";
import { findServer } from "./server.ts";
import { bytes, count } from "./text.ts";

export function portCommands(devsync: Devsync) {
  return {
    tensorboard: async (folder: string) =>
      openPage((await devsync.job<{ url: string }>("tensorboard", { folder })).url),
    forward: async (folder: string) => {
      const port = Number(await ask("Port of the VM", "7860")) || 0;
      const { url } = await devsync.job<{ url: string }>("forward", { folder, remotePort: port });
      const text = `Port ${port} of the VM is ${url}`;
      if (await vscode.window.showInformationMessage(text, "Open")) await openPage(url);
    },
    openForward: (_: string, { forward }: Node) => forward && openPage(forward.url),
    closeForward: (folder: string, { forward: port }: Node) =>
      devsync.job("forward", { folder, remotePort: port?.remotePort, localPort: port?.localPort, close: true }),
    shell: async (folder: string) =>
      vscode.window.createTerminal(terminal(await devsync.command("shell", { folder }))).show(),
    pull: async (folder: string) => {
      const { files, bytes: size } = await devsync.job<{ files: number; bytes: number }>("pull", { folder });
      say(`$(cloud-download) Fetched: ${files ? `${count(files, "file")}, ${bytes(size)}` : "nothing new"}`);
    },
    push: async (folder: string, target: Target, all: vscode.Uri[] = []) => {
      const options = { canSelectFolders: true, canSelectFiles: true, defaultUri: fileOf(), openLabel: "Upload" };
      const one = target instanceof vscode.Uri ? [target] : await vscode.window.showOpenDialog(options);
      for (const { fsPath: local } of all.length ? all : chosen(one)) {
        const inside = relative(folder, local).replaceAll(sep, "/");
        const proposed = /^\.\.|^[a-z]:/i.test(inside) ? basename(local) : inside;
        const remote = await ask("Where to on the VM (relative to the project, or absolute)", proposed);
        await devsync.job("push", { folder, local, remote });
        say(`$(cloud-upload) ${remote} is on the VM`);
      }
    },
  };
}

/** The terminal profile "Colab VM". */
export async function terminalProfile(devsync: Devsync, projects: Projects): Promise<vscode.TerminalProfile> {
  const options = terminal(await devsync.command("shell", { folder: await projects.folder() }));
  // VS Code itself leaves a closed panel closed.
  const opening = vscode.window.onDidOpenTerminal((opened) => (opening.dispose(), opened.show()));
  return new vscode.TerminalProfile(options);
}

type Shell = { argv: string[]; cwd: string; name: string };

function terminal({ argv: [shellPath = "", ...shellArgs], cwd, name }: Shell): vscode.TerminalOptions {
  return { name, shellPath, shellArgs, cwd, iconPath: new vscode.ThemeIcon("vm") };
}

async function openPage(url: string): Promise<void> {
  const outside = await vscode.env.asExternalUri(vscode.Uri.parse(url));
  const where = vscode.workspace.getConfiguration("colabDevsync").get("openPages");
  const options = { viewColumn: vscode.ViewColumn.Beside, preserveFocus: true };
  if (where === "browser") await vscode.env.openExternal(outside);
  else await vscode.commands.executeCommand("simpleBrowser.api.open", outside, options);
}

export async function ask(title: string, value: string): Promise<string> {
  return chosen((await vscode.window.showInputBox({ title, value, ignoreFocusOut: true })) || undefined);
}

export function say(text: string): void {
  vscode.window.setStatusBarMessage(text, 8000);
}

/** The task type: the command line in a terminal, found like the server. */
export const tasks: vscode.TaskProvider = {
  provideTasks: async () => {
    const server = vscode.workspace.isTrusted ? await findServer().catch(() => undefined) : undefined;
    const offered = server ? ["run", "sync", "pull", "tensorboard", "doctor"] : [];
    return offered.map((command) => task(server, { type: "colab-devsync", command }));
  },
  resolveTask: async ({ definition, scope }) => task(await findServer(), definition, scope),
};

/** The command line where it talks with a person itself. */
export async function runTask(command: string, cwd: string): Promise<void> {
  await vscode.tasks.executeTask(task(await findServer(), { type: "colab-devsync", command, cwd }));
}

function task(server: string[] = [], definition: vscode.TaskDefinition, scope?: vscode.Task["scope"]): vscode.Task {
  const own = [definition.command as string, ...((definition.args as string[]) ?? [])];
  const { cwd } = definition;
  const execution = new vscode.ProcessExecution(server[0] ?? "", [...server.slice(1), ...own], cwd ? { cwd } : {});
  // No problem matchers, said so that nobody is asked for one.
  return new vscode.Task(definition, scope ?? vscode.TaskScope.Workspace, own.join(" "), "Colab VM", execution, []);
}
