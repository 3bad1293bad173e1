/**
 * The context menu of our listing. Lab's own would offer commands there that act on the user's own
 * files, so the event does not reach it.
 */

import { MenuSvg } from '@jupyterlab/ui-components';
import type { CommandRegistry } from '@lumino/commands';

import type { ContainerBrowser } from './browser';
import { CommandIDs } from './commands';

const ON_ENTRY = [
  [CommandIDs.open],
  [CommandIDs.pull, CommandIDs.pushHere],
  [CommandIDs.copy, CommandIDs.paste],
  [CommandIDs.download, CommandIDs.uploadFiles, CommandIDs.uploadFolder],
  [CommandIDs.copyPath, CommandIDs.refresh]
];

export function addMenu(browser: ContainerBrowser, commands: CommandRegistry): void {
  const menu = new MenuSvg({ commands });
  ON_ENTRY.forEach((group, at) => {
    if (at > 0) {
      menu.addItem({ type: 'separator' });
    }
    for (const command of group) {
      menu.addItem({ command, args: command === CommandIDs.paste ? { own: true } : {} });
    }
  });
  browser.node.addEventListener('contextmenu', event => {
    if (event.shiftKey) {
      return; // the browser's own menu, as everywhere in Lab
    }
    event.preventDefault();
    event.stopPropagation();
    const target = event.target as HTMLElement;
    const box = target.getBoundingClientRect();
    // Opened by the keyboard, the event has no place of its own.
    const byKey = event.clientX === 0 && event.clientY === 0;
    menu.open(byKey ? box.left + 20 : event.clientX, byKey ? box.bottom : event.clientY);
  });
}
