// Finds the command that starts the language server: the setting, then PATH, then the
// Python extension's interpreter. Nothing else is searched.

import { execFile } from "node:child_process";
import { access, constants } from "node:fs/promises";
import { delimiter, join } from "node:path";
import * as vscode from "vscode";

const PROBE_MS = 20_000;

export class NoServer extends Error {
  constructor() {
    super("The Python package colab-devsync was not found.");
  }
}

/** The words before `lsp`, `run` and so on. NoServer if there is none. */
export async function findServer(): Promise<string[]> {
  const given = vscode.workspace.getConfiguration("colabDevsync").get<string[]>("serverCommand", []);
  if (given.length) return given;
  const onPath = await which("colab-devsync");
  if (onPath) return [onPath];
  const python = await interpreter();
  if (python && (await hasPackage(python))) return [python, "-m", "colab_devsync"];
  throw new NoServer();
}

async function which(name: string): Promise<string | undefined> {
  const names = process.platform === "win32" ? [`${name}.exe`] : [name];
  for (const folder of (process.env.PATH ?? "").split(delimiter).filter(Boolean)) {
    for (const one of names) {
      const path = join(folder, one);
      const usable = access(path, constants.X_OK).then(() => true);
      if (await usable.catch(() => false)) return path;
    }
  }
  return undefined;
}

interface PythonApi {
  environments?: {
    getActiveEnvironmentPath(): { path: string };
    resolveEnvironment(path: unknown): Promise<{ executable?: { uri?: vscode.Uri } } | undefined>;
  };
}

/** What the Python extension has chosen for this workspace, if it is there. */
async function interpreter(): Promise<string | undefined> {
  const python = vscode.extensions.getExtension<PythonApi>("ms-python.python");
  const environments = python && (await python.activate()).environments;
  if (!environments) return undefined;
  const active = environments.getActiveEnvironmentPath();
  const found = await environments.resolveEnvironment(active);
  return found?.executable?.uri?.fsPath ?? active.path;
}

function hasPackage(python: string): Promise<boolean> {
  return new Promise((resolve) => {
    const command = ["-m", "colab_devsync", "--version"];
    execFile(python, command, { timeout: PROBE_MS }, (error) => resolve(!error));
  });
}

/** In a task's terminal, so that what pip says can be read. True if pip succeeded. */
export async function installServer(): Promise<boolean> {
  const python = (await interpreter()) ?? (await which("python3")) ?? "python";
  const task = new vscode.Task(
    { type: "colab-devsync", command: "install" },
    vscode.TaskScope.Workspace,
    "install colab-devsync",
    "Colab VM",
    new vscode.ProcessExecution(python, ["-m", "pip", "install", "colab-devsync"]),
  );
  const running = await vscode.tasks.executeTask(task);
  return new Promise((resolve) => {
    const heard = vscode.tasks.onDidEndTaskProcess((event) => {
      if (event.execution !== running) return;
      heard.dispose();
      resolve(event.exitCode === 0);
    });
  });
}
