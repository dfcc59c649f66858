/** Shows HTML that a model wrote as the text that it is; only `<br>` breaks a line. */

interface Node {
  type: string;
  value?: string;
  children?: Node[];
}

function change(node: Node): void {
  if (node.type === "html") node.type = /^<br\s*\/?>$/i.test(node.value?.trim() ?? "") ? "break" : "text";
  for (const child of node.children ?? []) change(child);
}

/** A remark plugin. */
export const htmlAsText = () => change;
