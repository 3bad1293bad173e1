/**
 * A notebook as the Jupyter server writes it (nbformat 4): keys sorted, one space of indent, long
 * texts as lists of lines. So a notebook that is saved in a container differs from before only
 * where it was changed.
 */

import type { JSONObject, JSONValue } from '@lumino/coreutils';

/** The text of a notebook's file. */
export function notebookText(content: unknown): string {
  return `${JSON.stringify(sorted(split(content as JSONValue)), null, 1)}\n`;
}

/**
 * A notebook as Lab may be given it. The file of a container cannot say that it is trusted: Lab would
 * run what is in its outputs. (A Jupyter server decides that by its own signatures, not by the file.)
 */
export function untrusted(notebook: JSONValue): JSONValue {
  if (!isObject(notebook) || !Array.isArray(notebook.cells)) {
    return notebook;
  }
  return { ...notebook, cells: notebook.cells.map(withoutTrust) };
}

/** Whether it is trusted is a matter of this browser, not of the file. */
function withoutTrust(cell: JSONValue): JSONValue {
  if (!isObject(cell) || !isObject(cell.metadata)) {
    return cell;
  }
  const { trusted: _, ...metadata } = cell.metadata;
  return { ...cell, metadata };
}

function isObject(value: JSONValue | undefined): value is JSONObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function split(notebook: JSONValue): JSONValue {
  if (!isObject(notebook) || !Array.isArray(notebook.cells)) {
    return notebook;
  }
  return { ...notebook, cells: notebook.cells.map(splitCell) };
}

function splitCell(cell: JSONValue): JSONValue {
  const found = withoutTrust(cell);
  if (!isObject(found)) {
    return found;
  }
  return {
    ...found,
    ...(typeof found.source === 'string' ? { source: lines(found.source) } : {}),
    ...(isObject(found.attachments)
      ? { attachments: mapValues(found.attachments, splitBundle) }
      : {}),
    ...(Array.isArray(found.outputs) ? { outputs: found.outputs.map(splitOutput) } : {})
  };
}

function splitOutput(output: JSONValue): JSONValue {
  if (!isObject(output)) {
    return output;
  }
  return {
    ...output,
    ...(typeof output.text === 'string' ? { text: lines(output.text) } : {}),
    ...(isObject(output.data) ? { data: splitBundle(output.data) } : {})
  };
}

function splitBundle(bundle: JSONValue): JSONValue {
  if (!isObject(bundle)) {
    return bundle;
  }
  return mapValues(bundle, (value, type) =>
    typeof value === 'string' && !/^application\/(.*\+)?json$/.test(type) ? lines(value) : value
  );
}

function mapValues(
  value: JSONObject,
  change: (value: JSONValue, key: string) => JSONValue
): JSONObject {
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, change(one as JSONValue, key)]));
}

/** Lines with their ends, as Python's `splitlines(True)` makes them of `\n`. */
function lines(text: string): string[] {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}

function sorted(value: JSONValue): JSONValue {
  if (Array.isArray(value)) {
    return value.map(sorted);
  }
  if (!isObject(value)) {
    return value;
  }
  return Object.fromEntries(
    Object.keys(value)
      .sort()
      .map(key => [key, sorted(value[key] as JSONValue)])
  );
}
