// The debugger type `colab-devsync`: the server starts debugpy on the VM, and VS Code
// speaks to it through one forwarded port. For VS Code the request stays what it is, so
// that Stop ends the program and Restart starts another one; debugpy is told `attach`.

import * as vscode from "vscode";
import { guarded, type Arguments, type Devsync } from "./client.ts";
import type { DebugTarget } from "./model.ts";
import type { Projects } from "./projects.ts";

export const TYPE = "colab-devsync";
const CURRENT_FILE = { type: TYPE, request: "launch", name: "Colab VM: Current File", program: "${file}" };
const OPTIONS = ["justMyCode", "subProcess", "redirectOutput", "showReturnValue"];
type Config = vscode.DebugConfiguration;
type Folder = vscode.WorkspaceFolder | undefined;

export class Debugging {
  private readonly targets = new Map<string, DebugTarget>();
  private readonly prepared = new Map<string, DebugTarget>();

  constructor(
    private readonly devsync: Devsync,
    private readonly projects: Projects,
    private readonly runWithout: (args: Arguments) => Promise<void>,
  ) {}

  register(): vscode.Disposable[] {
    const { debug } = vscode;
    const dynamic = { provideDebugConfigurations: () => [CURRENT_FILE] };
    return [
      debug.registerDebugConfigurationProvider(TYPE, this),
      debug.registerDebugConfigurationProvider(TYPE, dynamic, vscode.DebugConfigurationProviderTriggerKind.Dynamic),
      debug.registerDebugAdapterDescriptorFactory(TYPE, this),
      debug.registerDebugAdapterTrackerFactory(TYPE, this),
      debug.onDidTerminateDebugSession((session) => this.targets.delete(session.id)),
      debug.onDidReceiveDebugSessionCustomEvent(startOldChild),
    ];
  }

  /** For the palette, the title bar and code lenses. `at` is in the project. */
  async start(at: vscode.Uri | undefined, config: Partial<Config>): Promise<void> {
    const folder = at && vscode.workspace.getWorkspaceFolder(at);
    await vscode.debug.startDebugging(folder, { type: TYPE, request: "launch", name: "Colab VM", ...config });
  }

  resolveDebugConfiguration(_: unknown, config: Config): Config | undefined {
    const isPython = vscode.window.activeTextEditor?.document.languageId === "python";
    return config.type ? config : isPython ? { ...CURRENT_FILE, noDebug: config.noDebug } : undefined;
  }

  /** An error that leaves here, or below, is shown in a dialog that blocks the window. */
  resolveDebugConfigurationWithSubstitutedVariables(at: Folder, config: Config, token?: vscode.CancellationToken) {
    return guarded(this.devsync.log, () => this.resolve(at, config, token))();
  }

  private async resolve(at: Folder, config: Config, token?: vscode.CancellationToken) {
    if (config.connect) return config; // a child, or a port that is known
    config.folder ??= await this.folder(at, config);
    if (config.noDebug) {
      await this.runWithout(argumentsOf(config));
      return undefined;
    }
    if (!vscode.extensions.getExtension("ms-python.debugpy")) return config;
    const target = await this.target(config, token);
    if (target.prefer === "debugpy") {
      const theirs = { ...target.configuration, ...pick(config, OPTIONS), name: config.name };
      await vscode.debug.startDebugging(at, { ...theirs, type: "debugpy", request: "attach" });
      return undefined;
    }
    config.prepared = target.run;
    this.prepared.set(target.run ?? "", target);
    return config;
  }

  /** Once more for every restart. */
  async createDebugAdapterDescriptor(session: vscode.DebugSession) {
    const { configuration } = session;
    if (configuration.connect) return server(configuration.connect);
    const get = () => this.prepared.get(configuration.prepared) ?? this.target(configuration);
    const target = await guarded(this.devsync.log, get)();
    this.prepared.delete(configuration.prepared);
    if (!target) throw new vscode.CancellationError();
    this.targets.set(session.id, target);
    return server(target.connect);
  }

  createDebugAdapterTracker(session: vscode.DebugSession): vscode.DebugAdapterTracker | undefined {
    const target = this.targets.get(session.id);
    if (!target) return undefined;
    return {
      onWillReceiveMessage: (message) => {
        if (message.type !== "request" || !/^(launch|attach)$/.test(message.command)) return;
        message.command = "attach";
        message.arguments = { ...target.configuration, ...pick(session.configuration, OPTIONS) };
      },
    };
  }

  private async folder(at: Folder, config: Config): Promise<string> {
    const uri = config.program ? vscode.Uri.file(config.program) : at?.uri;
    return uri && this.projects.of(uri.fsPath) ? uri.fsPath : this.projects.folder(uri);
  }

  private target(config: Config, token?: vscode.CancellationToken): Promise<DebugTarget> {
    return this.devsync.job("debug", argumentsOf(config), token);
  }
}

function server({ host, port }: { host?: string; port: number }): vscode.DebugAdapterServer {
  return new vscode.DebugAdapterServer(Number(port), host ?? "127.0.0.1");
}

function pick(config: Config, names: string[]): Arguments {
  const known = names.filter((name) => config[name] !== undefined);
  return Object.fromEntries(known.map((name) => [name, config[name]]));
}

/** What is started, as the server's commands take it. */
function argumentsOf(config: Config): Arguments {
  const { program: file, ...rest } = pick(config, ["folder", "program", "module", "args", "run", "pid"]);
  return file ? { ...rest, file } : rest;
}

/** debugpy before 1.8 announces child processes by an event of its own; later ones ask
 * VS Code itself. */
function startOldChild({ session, event, body }: vscode.DebugSessionCustomEvent): void {
  if (session.type !== TYPE || event !== "debugpyAttach") return;
  const child = { ...body, type: TYPE, request: "attach" };
  const options = { parentSession: session, lifecycleManagedByParent: true };
  void vscode.debug.startDebugging(session.workspaceFolder, child, options);
}
