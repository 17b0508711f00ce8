// The one language client, for all folders: started when it is first needed, and the
// way in which everything else here speaks to the server.

import * as vscode from "vscode";
import type { LanguageClient } from "vscode-languageclient/node";
import { WAIT, type ErrorBody, type JobBody } from "./protocol.ts";
import { findServer, installServer, NoServer } from "./server.ts";

export type Arguments = Record<string, unknown>;
const SELECTOR = [
  { scheme: "file", language: "python" },
  { scheme: "file", pattern: "**/.colabremote.toml" },
];

/** A person has been told already. */
class Told extends Error {}

export class Devsync {
  /** Commands of code lenses and code actions that more belongs to than a request. */
  readonly overrides = new Map<string, (args: Arguments) => unknown>();
  private readonly listeners = new Map<string, (body: unknown) => void>();
  private readonly stopped = new vscode.EventEmitter<void>();
  readonly onStopped = this.stopped.event;
  private running: Promise<LanguageClient> | undefined;

  constructor(readonly log: vscode.LogOutputChannel) {}

  /** Has to be called before the client starts. */
  on<T>(method: string, listener: (body: T) => void): void {
    this.listeners.set(method, (body) => listener(body as T));
  }

  /** A short command: answers within a second. */
  command<T>(name: string, args: Arguments = {}): Promise<T> {
    return this.request("workspace/executeCommand", { command: `devsync.${name}`, arguments: [args] });
  }

  /** A long command: its result, when it has ended. Told if it failed or was cancelled:
   * the server has shown why, and shows the progress too. */
  async job<T>(name: string, args: Arguments = {}, token?: vscode.CancellationToken): Promise<T> {
    const answer = await this.command<{ job?: string }>(name, args);
    if (!answer.job) return answer as T;
    token?.onCancellationRequested(() => void this.command("cancel", { job: answer.job }));
    const end = await this.request<JobBody>(WAIT, { job: answer.job });
    if (end.state === "done") return end.result as T;
    throw new Told(end.error?.message ?? `${name} was cancelled`);
  }

  async request<T>(method: string, params: Arguments): Promise<T> {
    const client = await this.client();
    // After crashes it stays away until somebody wants something of it.
    if (client.needsStart()) await client.start();
    return client.sendRequest<T>(method, params);
  }

  /** Saves of files that the server does not follow: only their name is told. */
  async saved(document: vscode.TextDocument): Promise<void> {
    if (document.uri.scheme !== "file" || vscode.languages.match(SELECTOR, document)) return;
    const params = { textDocument: { uri: document.uri.toString() } };
    const tell = async () => (await this.running)?.sendNotification("textDocument/didSave", params);
    await tell().catch((error) => this.log.warn(String(error)));
  }

  /** A server that hangs is not waited for. */
  async dispose(): Promise<void> {
    const client = await this.running?.catch(() => undefined);
    this.running = undefined;
    await client?.dispose(2000).catch((error) => this.log.warn(String(error)));
  }

  client(): Promise<LanguageClient> {
    const { isTrusted } = vscode.workspace;
    if (!isTrusted) return Promise.reject(new Error("Colab DevSync waits until you trust this folder."));
    this.running ??= this.start().catch((error) => {
      this.running = undefined;
      throw error;
    });
    return this.running;
  }

  private async start(): Promise<LanguageClient> {
    const [command = "", ...words] = await findServer().catch((error) => this.offerInstall(error));
    this.log.info(`starting ${[command, ...words, "lsp"].join(" ")}`);
    // Loading the library is what takes time; it is not part of activation.
    const { LanguageClient, RevealOutputChannelOn, State } = await import("vscode-languageclient/node");
    const settings = vscode.workspace.getConfiguration("colabDevsync");
    const [autoConnect, profile] = [settings.get("autoConnect"), settings.get("profile") || undefined];
    const executable = { command, args: [...words, "lsp"] };
    const client = new LanguageClient("colabDevsync", "Colab DevSync", executable, {
      documentSelector: SELECTOR,
      outputChannel: this.log,
      revealOutputChannelOn: RevealOutputChannelOn.Never,
      initializationOptions: { autoConnect, profile, showsOutput: true },
      middleware: {
        executeCommand: (name, args, next) => {
          const ours = this.overrides.get(name);
          return ours ? ours((args[0] ?? {}) as Arguments) : next(name, args);
        },
      },
    });
    for (const [method, listener] of this.listeners) client.onNotification(method, listener);
    client.onDidChangeState(({ newState }) => newState === State.Stopped && this.stopped.fire());
    await client.start();
    void vscode.commands.executeCommand("setContext", "colabDevsync.serverRunning", true);
    return client;
  }

  /** Does not wait for an answer: whoever wanted the server goes on, and may ask again. */
  private offerInstall(error: unknown): never {
    if (!(error instanceof NoServer)) throw error;
    const [install, settings] = ["Install with pip", "Open Settings"];
    const offer = async () => {
      const answer = await vscode.window.showErrorMessage(error.message, install, settings);
      if (answer === install) await installServer().then(() => this.client());
      else if (answer)
        await vscode.commands.executeCommand("workbench.action.openSettings", "colabDevsync.serverCommand");
    };
    void guarded(this.log, offer)();
    throw new Told(error.message);
  }
}

/** Wraps what a person started: what goes wrong is shown, once, and undefined returned. */
export function guarded<A extends unknown[], T>(log: vscode.LogOutputChannel, work: (...args: A) => T) {
  return async (...args: A): Promise<Awaited<T> | undefined> => {
    try {
      return await work(...args);
    } catch (error) {
      log.warn(String(error));
      if (error instanceof Told || error instanceof vscode.CancellationError) return;
      const { message, data } = error as Error & { data?: ErrorBody };
      const text = data?.hint && !message.includes(data.hint) ? `${message} ${data.hint}` : message;
      void vscode.window.showErrorMessage(text, "Show Log").then((answer) => answer && log.show());
    }
  };
}
