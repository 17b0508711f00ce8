// The view "Colab VM": conflicts, VM, runs, ports, checkpoints of each project.

import * as vscode from "vscode";
import { projectNode, sections, type Node } from "./nodes.ts";
import type { Projects } from "./projects.ts";

export function createTree(projects: Projects): vscode.Disposable[] {
  const changed = new vscode.EventEmitter<void>();
  const roots = ({ all }: Projects) => (all.length === 1 ? all.flatMap(sections) : all.map(projectNode));
  const view = vscode.window.createTreeView<Node>("colabDevsync.vm", {
    showCollapseAll: true,
    treeDataProvider: {
      onDidChangeTreeData: changed.event,
      getTreeItem: treeItem,
      getChildren: (node) => (node ? node.children : roots(projects)),
    },
  });
  const show = () => {
    changed.fire();
    const conflicts = projects.all.reduce((sum, { status }) => sum + status.conflicts, 0);
    view.badge = conflicts ? { value: conflicts, tooltip: `${conflicts} to decide` } : undefined;
  };
  return [view, changed, projects.onChange(show)];
}

function treeItem(node: Node): vscode.TreeItem {
  const { None, Collapsed, Expanded } = vscode.TreeItemCollapsibleState;
  const open = node.kind === "vm" ? Collapsed : Expanded;
  const item = new vscode.TreeItem(node.label, node.children?.length ? open : None);
  // What was empty and closed is another element, so that it opens when it is not.
  item.id = `${node.folder}#${node.id}${node.children?.length ? "+" : ""}`;
  item.description = node.description;
  item.tooltip = node.tooltip ?? node.label;
  item.contextValue = node.kind;
  if (node.icon) item.iconPath = new vscode.ThemeIcon(node.icon);
  if (node.file) item.resourceUri = vscode.Uri.file(node.file);
  if (node.file) item.command = { command: "revealInExplorer", title: node.label, arguments: [item.resourceUri] };
  if (node.click) item.command = { command: `colabDevsync.${node.click}`, title: node.label, arguments: [node] };
  return item;
}
