// Activation: registers everything at once, and starts the language client afterwards
// where a folder of the workspace has a .colabremote.toml.

import { dirname } from "node:path";
import * as vscode from "vscode";
import { Devsync, guarded, type Arguments } from "./client.ts";
import { conflictCommands } from "./conflicts.ts";
import { Debugging, TYPE } from "./debug.ts";
import { Outputs } from "./output.ts";
import { portCommands, tasks, terminalProfile } from "./ports.ts";
import { Projects, type Target } from "./projects.ts";
import { runCommands, starter } from "./runs.ts";
import { installServer } from "./server.ts";
import { init, setupCommands } from "./setup.ts";
import { createStatusBar } from "./statusBar.ts";
import { createTree } from "./tree.ts";

export function activate(context: vscode.ExtensionContext): void {
  const log = vscode.window.createOutputChannel("Colab DevSync", { log: true });
  const devsync = new Devsync(log);
  const projects = new Projects(devsync);
  const outputs = new Outputs(devsync, projects);
  const debugging = new Debugging(devsync, projects, starter(devsync, outputs));
  const register = (name: string, work: (target: Target, all?: vscode.Uri[]) => unknown) =>
    vscode.commands.registerCommand(`colabDevsync.${name}`, guarded(log, work));
  const inFolder = {
    ...runCommands(devsync, outputs, debugging),
    ...conflictCommands(devsync, projects),
    ...portCommands(devsync),
    ...setupCommands(devsync, projects),
  };
  for (const [name, work] of Object.entries(inFolder)) {
    const inIt = work as (folder: string, target: Target, all?: vscode.Uri[]) => unknown;
    context.subscriptions.push(register(name, async (target, all) => inIt(await projects.folder(target), target, all)));
  }
  const own = Object.entries(ownCommands(devsync, projects)).map(([name, work]) => register(name, work));
  overrideLenses(devsync, debugging, starter(devsync, outputs));
  const provideTerminalProfile = () => terminalProfile(devsync, projects);
  context.subscriptions.push(
    ...own,
    log,
    devsync,
    ...createStatusBar(projects),
    ...createTree(projects),
    ...outputs.register(),
    ...debugging.register(),
    vscode.tasks.registerTaskProvider(TYPE, tasks),
    vscode.window.registerTerminalProfileProvider("colab-devsync.terminal", { provideTerminalProfile }),
    vscode.workspace.onDidSaveTextDocument((document) => void devsync.saved(document)),
    vscode.workspace.onDidChangeWorkspaceFolders(({ removed }) => projects.forget(removed)),
    vscode.workspace.onDidGrantWorkspaceTrust(() => void startIfConfigured(devsync, projects)),
    vscode.workspace.onDidChangeConfiguration(({ affectsConfiguration: affects }) => {
      if (!["serverCommand", "profile", "autoConnect"].some((name) => affects(`colabDevsync.${name}`))) return;
      void devsync.dispose().then(() => startIfConfigured(devsync, projects));
    }),
  );
  void startIfConfigured(devsync, projects);
}

/** What the server's lenses and actions call: here more than a request belongs to it. */
function overrideLenses(devsync: Devsync, debugging: Debugging, run: ReturnType<typeof starter>): void {
  const path = (file: string) => (file.includes("://") ? vscode.Uri.parse(file).fsPath : file);
  const debugIt = ({ file, ...rest }: Arguments) => {
    const what = file ? { ...rest, program: path(file as string) } : rest;
    return debugging.start(undefined, { name: "Colab VM", ...what });
  };
  devsync.overrides.set("devsync.run", guarded(devsync.log, run));
  devsync.overrides.set("devsync.debug", guarded(devsync.log, debugIt));
}

function ownCommands(devsync: Devsync, projects: Projects) {
  return {
    init: async () => init(devsync, await projects.newFolder()).then(() => startIfConfigured(devsync, projects)),
    logs: () => devsync.log.show(),
    restart: () => devsync.dispose().then(() => devsync.client()),
    install: () => installServer().then(() => devsync.client()),
  };
}

/** What there is, is shown at once, connected or not. What is wrong with a configuration
 * is shown in its file. */
async function startIfConfigured(devsync: Devsync, projects: Projects): Promise<void> {
  if (!vscode.workspace.isTrusted) return;
  const found = await vscode.workspace.findFiles("{.colabremote.toml,*/.colabremote.toml}", null, 20);
  if (!found.length) return;
  void vscode.commands.executeCommand("setContext", "colabDevsync.isConfigured", true);
  if (!(await guarded(devsync.log, () => devsync.client())())) return;
  for (const folder of found.map(({ fsPath }) => dirname(fsPath))) {
    const show = async () => projects.update(await devsync.command("status", { folder }));
    await show().catch((error) => devsync.log.warn(String(error)));
  }
}
