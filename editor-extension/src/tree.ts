// The view "Colab VM": conflicts, VM, runs, ports, checkpoints of each project.

import * as vscode from "vscode";
import { projectNode, sections, type Node } from "./nodes.ts";
import type { Projects } from "./projects.ts";

export function createTree(projects: Projects): vscode.Disposable[] {
  const changed = new vscode.EventEmitter<void>();
  const roots = () => {
    const [first, ...more] = projects.all;
    return first && !more.length ? sections(first) : projects.all.map(projectNode);
  };
  const view = vscode.window.createTreeView<Node>("colabDevsync.vm", {
    showCollapseAll: true,
    treeDataProvider: {
      onDidChangeTreeData: changed.event,
      getTreeItem: treeItem,
      getChildren: (node) => (node ? node.children : roots()),
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
  item.id = `${node.folder}#${node.id}`;
  item.description = node.description;
  item.tooltip = node.tooltip ?? node.label;
  item.contextValue = node.kind;
  if (node.icon) item.iconPath = new vscode.ThemeIcon(node.icon);
  if (node.click) item.command = { command: `colabDevsync.${node.click}`, title: node.label, arguments: [node] };
  return item;
}
