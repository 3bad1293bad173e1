/**
 * Everything that can be done, as commands of Lab: palette, menus, toolbars and keys use the same.
 */

import type { JupyterFrontEnd } from '@jupyterlab/application';
import {
  Dialog,
  ICommandPalette,
  InputDialog,
  Notification,
  showDialog
} from '@jupyterlab/apputils';
import type { FileBrowser } from '@jupyterlab/filebrowser';
import {
  copyIcon,
  downloadIcon,
  fileUploadIcon,
  folderIcon,
  pasteIcon,
  refreshIcon
} from '@jupyterlab/ui-components';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';

import { copyAsked, showFailure } from './copying';
import { DestinationForm } from './destination';
import { fromFiles, IDropped } from './dropped';
import { boxIcon, intoIcon, outIcon, rescueIcon } from './icons';
import type { VolcopyModel } from './model';
import { show } from './names';
import type { VolcopyPanel } from './panel';
import { drivePath, endpoint, IPlace, isOurs, placeOf } from './places';
import { isOver, ITransfer } from './tokens';
import { upload } from './upload';
import type { IWords } from './words';

export namespace CommandIDs {
  export const show = 'volcopy:show';
  export const refresh = 'volcopy:refresh';
  export const open = 'volcopy:open';
  export const goUp = 'volcopy:go-up';
  export const pull = 'volcopy:pull';
  export const pullHere = 'volcopy:pull-here';
  export const push = 'volcopy:copy-to-container';
  export const pushHere = 'volcopy:push-here';
  export const copy = 'volcopy:copy';
  export const paste = 'volcopy:paste';
  export const selectAll = 'volcopy:select-all';
  export const download = 'volcopy:download';
  export const uploadFiles = 'volcopy:upload-files';
  export const uploadFolder = 'volcopy:upload-folder';
  export const copyPath = 'volcopy:copy-path';
  export const rescue = 'volcopy:rescue';
  export const cancelAll = 'volcopy:cancel-all';
  export const forgetAll = 'volcopy:forget-all';
  export const refuse = 'volcopy:refuse';
}

/** What the commands need of everything else. */
export interface IContext {
  app: JupyterFrontEnd;
  model: VolcopyModel;
  panel: VolcopyPanel;
  words: IWords;
  /** The user's own file browser; null where Lab has none. */
  files: FileBrowser | null;
  palette: ICommandPalette | null;
}

/** A path of the user's files as the server wants it. */
export function localEndpoint(path: string): string {
  // "RTC:" and the like: drives that show the same files.
  const plain = path.replace(/^[A-Za-z]+:/, '').replace(/^\/+/, '');
  return plain ? `./${plain}` : '.';
}

/** An endpoint for a shell, where a name has what cannot be typed. */
function asTyped(text: string): string {
  const shown = show(text.replace(/[\\']/g, '\\$&'));
  return show(text) === text ? text : `$'${shown}'`;
}

/** What was copied with Ctrl+C last, ours or the user's. */
let clipboard: string[] = [];

/** Copy paths of Lab, ours and others, into a directory of Lab, ours or another. */
export async function copyPaths(
  context: IContext,
  paths: string[],
  directory: string
): Promise<ITransfer | null> {
  const target = placeOf(directory);
  if (isOurs(directory) && !target) {
    return null;
  }
  const sources = paths.flatMap(path => {
    const place = placeOf(path);
    return place ? endpoint(place) : isOurs(path) ? [] : localEndpoint(path);
  });
  const destination = target ? endpoint(target) : localEndpoint(directory);
  const inside = paths.some(isOurs);
  if (!sources.length || (!target && !inside)) {
    return null;
  }
  return copyAsked(context.model, context.words, sources, destination);
}

/** Send files of this computer to a place. */
export async function sendFiles(
  context: IContext,
  place: IPlace,
  items: IDropped[]
): Promise<ITransfer | null> {
  const { app, model, words } = context;
  let there: string[];
  try {
    const names = new Set(items.map(item => item.path.split('/')[0]));
    const listing = await model.api.entries(place);
    there = listing.entries.map(one => one.name).filter(name => names.has(name));
  } catch (error) {
    await showFailure(error, words);
    return null;
  }
  if (there.length) {
    const answer = await showDialog({
      title: words._n('Replace %1 file?', 'Replace %1 files?', there.length),
      body: words.__('There already: %1', there.slice(0, 12).join(', ')),
      buttons: [
        Dialog.cancelButton({ label: words.__('Cancel') }),
        Dialog.warnButton({ label: words.__('Replace') })
      ],
      defaultButton: 0
    });
    if (!answer.button.accept) {
      return null;
    }
  }
  return upload(model, app.serviceManager.serverSettings, place, items);
}

export function addCommands(context: IContext): void {
  const { app, model, panel, words, files, palette } = context;
  const { commands } = app;
  const browser = panel.browser;
  const chosen = (): boolean => browser.chosen.length > 0;
  const inPlace = (): boolean => browser.place !== null;
  const ownChosen = (): string[] =>
    files ? [...files.selectedItems()].map(item => item.path).filter(path => !isOurs(path)) : [];
  const add = (
    id: string,
    label: string,
    execute: (args: ReadonlyPartialJSONObject) => unknown,
    more: Partial<Parameters<typeof commands.addCommand>[1]> = {}
  ): void => {
    commands.addCommand(id, {
      label,
      execute,
      describedBy: { args: { type: 'object', properties: {} } },
      ...more
    });
  };

  add(CommandIDs.show, words.__('Show containers'), () => app.shell.activateById(panel.id), {
    icon: boxIcon
  });
  add(CommandIDs.refresh, words.__('Refresh containers'), () => panel.refresh(), {
    icon: refreshIcon,
    caption: words.__('Read containers and files again')
  });
  add(CommandIDs.open, words.__('Open'), () => browser.openChosen(), {
    icon: folderIcon,
    isEnabled: chosen
  });
  add(CommandIDs.goUp, words.__('Go to the directory above'), () => browser.model.cd('..'));
  add(CommandIDs.selectAll, words.__('Select all'), () => browser.chooseAll());

  add(
    CommandIDs.pull,
    words.__('Copy to my files'),
    () =>
      copyPaths(context, browser.chosenPaths, files?.model.path ?? '').then(one => one?.id ?? ''),
    {
      icon: outIcon,
      caption: words.__('Copy what is chosen to the directory that the file browser shows'),
      isEnabled: chosen
    }
  );
  add(
    CommandIDs.pullHere,
    words.__('Pull here'),
    () => {
      const folders = files
        ? [...files.selectedItems()].filter(one => one.type === 'directory')
        : [];
      const target = folders.length === 1 ? folders[0].path : (files?.model.path ?? '');
      return copyPaths(context, browser.chosenPaths, target).then(one => one?.id ?? '');
    },
    {
      icon: outIcon,
      caption: words.__('Copy what is chosen in the container to this directory'),
      isEnabled: chosen
    }
  );
  add(
    CommandIDs.push,
    words.__('Copy to container…'),
    async () => {
      const paths = ownChosen();
      await model.refresh();
      const answer = await showDialog<IPlace | null>({
        title: words._n('Copy %1 item to a container', 'Copy %1 items to a container', paths.length),
        body: new DestinationForm(model, words, browser.place),
        buttons: [
          Dialog.cancelButton({ label: words.__('Cancel') }),
          Dialog.okButton({ label: words.__('Copy') })
        ]
      });
      if (answer.button.accept && answer.value) {
        await copyPaths(context, paths, drivePath(answer.value));
      }
    },
    { icon: intoIcon, isEnabled: () => ownChosen().length > 0 }
  );
  add(
    CommandIDs.pushHere,
    words.__('Copy my files here'),
    () => copyPaths(context, ownChosen(), browser.model.path).then(one => one?.id ?? ''),
    {
      icon: intoIcon,
      caption: words.__('Copy what is chosen in the file browser to this directory'),
      isEnabled: () => inPlace() && ownChosen().length > 0
    }
  );

  add(
    CommandIDs.copy,
    words.__('Copy'),
    () => {
      clipboard = browser.chosenPaths;
    },
    { icon: copyIcon, isEnabled: chosen }
  );
  add(
    CommandIDs.paste,
    words.__('Paste'),
    async args => {
      const here = args.own ? browser.model.path : (files?.model.path ?? '');
      if (clipboard.length && (args.own || clipboard.some(isOurs))) {
        return (await copyPaths(context, clipboard, here))?.id ?? '';
      }
      return args.own ? '' : commands.execute('filebrowser:paste');
    },
    { icon: pasteIcon }
  );
  // What the user copied in the own file browser can be pasted in ours.
  commands.commandExecuted.connect((_, executed) => {
    if (executed.id === 'filebrowser:copy' || executed.id === 'filebrowser:cut') {
      clipboard = ownChosen();
    }
  });

  add(CommandIDs.download, words.__('Download'), () => browser.downloadChosen(), {
    icon: downloadIcon,
    caption: words.__('Files as they are, folders as one archive'),
    isEnabled: chosen
  });
  const choose = (folder: boolean): void => {
    const place = browser.place;
    if (!place) {
      return;
    }
    const input = document.createElement('input');
    input.type = 'file';
    input.multiple = true;
    input.webkitdirectory = folder;
    input.onchange = () => {
      const items = fromFiles(Array.from(input.files ?? []));
      if (items.length) {
        void sendFiles(context, place, items);
      }
    };
    input.click();
  };
  add(CommandIDs.uploadFiles, words.__('Upload files…'), () => choose(false), {
    icon: fileUploadIcon,
    isEnabled: inPlace
  });
  add(CommandIDs.uploadFolder, words.__('Upload a folder…'), () => choose(true), {
    icon: fileUploadIcon,
    isEnabled: inPlace
  });
  add(
    CommandIDs.copyPath,
    words.__('Copy path'),
    () => navigator.clipboard.writeText(browser.chosen.map(endpoint).map(asTyped).join('\n')),
    { isEnabled: chosen, caption: words.__('As dcp spells it') }
  );

  add(
    CommandIDs.rescue,
    words.__('Rescue what would be lost…'),
    async () => {
      const name = model.selected;
      const answer = await InputDialog.getText({
        title: words.__('Rescue what %1 would lose', name),
        label: words.__('New folder in your files'),
        text: [files?.model.path.replace(/^[A-Za-z]+:/, ''), `rescued-${name}`]
          .filter(Boolean)
          .join('/'),
        okLabel: words.__('Rescue'),
        cancelLabel: words.__('Cancel')
      });
      if (!answer.button.accept || !answer.value) {
        return '';
      }
      try {
        return (await model.rescue(localEndpoint(answer.value))).id;
      } catch (error) {
        await showFailure(error, words);
        return '';
      }
    },
    { icon: rescueIcon, isEnabled: () => model.selected !== '' }
  );
  add(
    CommandIDs.cancelAll,
    words.__('Cancel all transfers'),
    () => Promise.all(model.running.map(one => model.cancel(one.id))).then(() => undefined),
    { isEnabled: () => model.running.length > 0 }
  );
  add(CommandIDs.forgetAll, words.__('Clear finished transfers'), () => model.forgetAll(), {
    isEnabled: () => model.transfers.some(isOver)
  });
  // The stock keys for these act on the user's own files, so they must not get through from here.
  add(
    CommandIDs.refuse,
    words.__('Not in a container'),
    () => {
      Notification.info(
        words.__('Files of containers are copied here, not renamed, deleted or created.'),
        { autoClose: 5000 }
      );
    },
    { isVisible: () => false }
  );

  const category = words.__('Containers');
  for (const command of [
    CommandIDs.show,
    CommandIDs.refresh,
    CommandIDs.pull,
    CommandIDs.push,
    CommandIDs.pushHere,
    CommandIDs.download,
    CommandIDs.uploadFiles,
    CommandIDs.uploadFolder,
    CommandIDs.rescue,
    CommandIDs.cancelAll,
    CommandIDs.forgetAll
  ]) {
    palette?.addItem({ command, category });
  }
  addKeys(context);
}

/** Keys in our listing, in place of the stock ones that would act on the user's own files. */
function addKeys({ app }: IContext): void {
  const selector = '.jp-Volcopy-browser .jp-DirListing-content .jp-DirListing-itemText';
  const keys: [string, string, ReadonlyPartialJSONObject?][] = [
    ['Backspace', CommandIDs.goUp],
    ['Accel C', CommandIDs.copy],
    ['Accel V', CommandIDs.paste, { own: true }],
    ['Accel A', CommandIDs.selectAll],
    ['Delete', CommandIDs.refuse],
    ['F2', CommandIDs.refuse],
    ['Accel X', CommandIDs.refuse],
    ['Accel D', CommandIDs.refuse]
  ];
  for (const [key, command, args] of keys) {
    app.commands.addKeyBinding({ command, keys: [key], selector, args: args ?? {} });
  }
  app.commands.addKeyBinding({
    command: CommandIDs.goUp,
    keys: ['Backspace'],
    selector: '.jp-Volcopy-browser .jp-DirListing:focus'
  });
  // In the user's own browser: what was copied in ours, else as always.
  app.commands.addKeyBinding({
    command: CommandIDs.paste,
    keys: ['Accel V'],
    selector: '.jp-FileBrowser:not(.jp-Volcopy-browser) .jp-DirListing-content .jp-DirListing-itemText'
  });
}
