// The task type `colab-devsync`: the command line in a terminal, found like the server.

import * as vscode from "vscode";
import { findServer } from "./server.ts";

const TYPE = "colab-devsync";
const OFFERED = ["run", "sync", "pull", "tensorboard", "doctor"];

export class Tasks implements vscode.TaskProvider {
  async provideTasks(): Promise<vscode.Task[]> {
    if (!vscode.workspace.isTrusted) return [];
    const server = await findServer();
    const definitions = OFFERED.map((command) => ({ type: TYPE, command }));
    return definitions.map((one) => task(server, one, vscode.TaskScope.Workspace));
  }

  async resolveTask({ definition, scope }: vscode.Task): Promise<vscode.Task> {
    return task(await findServer(), definition, scope ?? vscode.TaskScope.Workspace);
  }
}

function task(
  [program = "", ...words]: string[],
  definition: vscode.TaskDefinition,
  scope: vscode.WorkspaceFolder | vscode.TaskScope,
): vscode.Task {
  const own = [definition.command as string, ...((definition.args as string[]) ?? [])];
  const execution = new vscode.ProcessExecution(program, [...words, ...own]);
  return new vscode.Task(definition, scope, own.join(" "), "Colab VM", execution);
}
