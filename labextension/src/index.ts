/** The plugins: the panel with its drive, and what it adds to the Running panel. */

import {
  ILayoutRestorer,
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { URLExt } from '@jupyterlab/coreutils';
import { IDocumentManager } from '@jupyterlab/docmanager';
import { IDefaultFileBrowser } from '@jupyterlab/filebrowser';
import { IRunningSessionManagers } from '@jupyterlab/running';
import { ServerConnection } from '@jupyterlab/services';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Api, ApiError } from './api';
import { ContainerBrowser } from './browser';
import { addCommands, CommandIDs, copyPaths, IContext, sendFiles } from './commands';
import { showFailure } from './copying';
import { ContainerDrive } from './drive';
import { catchDrops } from './drop';
import { addMenu } from './menu';
import { VolcopyModel } from './model';
import { isOdd, show } from './names';
import { notifyTransfers } from './notify';
import { VolcopyPanel } from './panel';
import { drivePath, parseEndpoint, parsePlace } from './places';
import { addRunning } from './running';
import { IVolcopy } from './tokens';
import { makeWords } from './words';

/** Rank in the left area: after the file browser and the running things. */
const RANK = 250;

const panelPlugin: JupyterFrontEndPlugin<IVolcopy> = {
  id: 'jupyter-volcopy:plugin',
  description: 'Containers, their files, and what a removal would lose.',
  autoStart: true,
  provides: IVolcopy,
  requires: [IDocumentManager],
  optional: [ITranslator, IDefaultFileBrowser, ILayoutRestorer, ICommandPalette],
  activate: (
    app: JupyterFrontEnd,
    manager: IDocumentManager,
    translator: ITranslator | null,
    files: IDefaultFileBrowser | null,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null
  ): IVolcopy => {
    const language = translator ?? nullTranslator;
    const words = makeWords(language);
    const settings = app.serviceManager.serverSettings;
    const root = URLExt.join(settings.baseUrl, 'volcopy', 'api/');
    const api = new Api(
      (path, init) => ServerConnection.makeRequest(root + path, init, settings),
      root
    );
    const model = new VolcopyModel(api);
    const drive = new ContainerDrive(model, words, settings);
    app.serviceManager.contents.addDrive(drive);
    const browser = new ContainerBrowser(manager, language, words);
    const panel = new VolcopyPanel(model, browser, words, app.commands, language);
    const context: IContext = { app, model, panel, words, files, palette };
    addCommands(context);
    addMenu(browser, app.commands);
    notifyTransfers(model, words);

    browser.dropped.connect((_, drop) => {
      if (drop.dropped.length) {
        void sendFiles(context, drop.place, drop.dropped);
      } else {
        void copyPaths(context, drop.paths, drivePath(drop.place));
      }
    });
    browser.oddOpened.connect((_, item) => {
      const local = app.serviceManager.contents.localPath(item.path);
      const place = parsePlace(local);
      if (place) {
        drive
          .get(local, { content: false })
          .then(found => {
            if (found.type === 'directory') {
              return browser.list(place);
            }
            if (isOdd(item.path)) {
              throw new ApiError(
                words.__(
                  '%1 cannot be opened here: its path is no UTF-8 text. Download it, or copy it to your files.',
                  show(place.path)
                ),
                'usage',
                400
              );
            }
            manager.openOrReveal(item.path);
            return undefined;
          })
          .catch(error => showFailure(error, words));
      }
    });
    if (files) {
      model.transferOver.connect((_, transfer) => {
        if (!parseEndpoint(transfer.destination)) {
          void files.model.refresh();
        }
      });
      catchDrops(files, (paths, directory) => void copyPaths(context, paths, directory));
    }
    restorer?.add(panel, 'jupyter-volcopy-panel');
    app.shell.add(panel, 'left', { rank: RANK, type: 'Containers' });
    return model;
  }
};

const runningPlugin: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-volcopy:running',
  description: 'Transfers in the Running panel.',
  autoStart: true,
  requires: [IVolcopy, IRunningSessionManagers],
  optional: [ITranslator],
  activate: (
    app: JupyterFrontEnd,
    model: IVolcopy,
    managers: IRunningSessionManagers,
    translator: ITranslator | null
  ) => {
    addRunning(managers, model, makeWords(translator ?? nullTranslator), () => {
      void app.commands.execute(CommandIDs.show);
    });
  }
};

export default [panelPlugin, runningPlugin];
