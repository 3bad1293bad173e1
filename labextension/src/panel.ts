/** The side panel: containers, files, what is kept or lost, transfers. */

import {
  CommandToolbarButton,
  PanelWithToolbar,
  ReactWidget,
  SidePanel
} from '@jupyterlab/ui-components';
import type { ITranslator } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';
import type { Message } from '@lumino/messaging';
import type { ISignal } from '@lumino/signaling';
import { AccordionPanel, Widget } from '@lumino/widgets';
import React from 'react';

import { ApiError } from './api';
import type { ContainerBrowser } from './browser';
import { CommandIDs } from './commands';
import { Containers } from './containers';
import { boxIcon } from './icons';
import { Kept } from './kept';
import type { VolcopyModel } from './model';
import { failureNotice } from './notice';
import { IPlace, parseEndpoint, placeOf } from './places';
import { Slot } from './slot';
import { Transfers } from './transfers';
import type { IWords } from './words';

/** Places of two sections in the accordion. */
const FILES = 1;
const TRANSFERS = 3;

/** How the sections share the height at first. */
const SIZES = [1.1, 2, 1.6, 0.1];

export class VolcopyPanel extends SidePanel {
  constructor(
    readonly model: VolcopyModel,
    readonly browser: ContainerBrowser,
    private readonly words: IWords,
    private readonly commands: CommandRegistry,
    translator: ITranslator
  ) {
    super({ translator });
    this.id = 'jupyter-volcopy-panel';
    this.addClass('jp-Volcopy');
    this.title.icon = boxIcon;
    this.title.caption = words.__('Containers');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', words.__('Containers'));
    this.content.node.setAttribute('aria-label', words.__('Containers and files'));

    this.problem.addClass('jp-Volcopy-problemPanel');
    this.header.addWidget(this.problem);

    const open = (place: IPlace): void => void this.open(place);
    this.addSection(
      words.__('Containers'),
      ReactWidget.create(React.createElement(Containers, { model, words, open })),
      [CommandIDs.refresh]
    );
    const files = this.addSection(words.__('Files'), this.fileProblem, [
      CommandIDs.pull,
      CommandIDs.pushHere,
      CommandIDs.download,
      CommandIDs.uploadFiles
    ]);
    files.addClass('jp-Volcopy-files');
    files.addWidget(browser);
    this.addSection(
      words.__('Kept or lost'),
      ReactWidget.create(
        React.createElement(Kept, {
          model,
          words,
          open,
          rescue: () => void commands.execute(CommandIDs.rescue)
        })
      ),
      [CommandIDs.rescue]
    );
    this.addSection(
      words.__('Transfers'),
      ReactWidget.create(React.createElement(Transfers, { model, words })),
      [CommandIDs.cancelAll, CommandIDs.forgetAll]
    );

    browser.failed.connect((_, error) => this.showFileProblem(error));
    browser.model.refreshed.connect(() => this.showFileProblem(null));
    browser.model.pathChanged.connect(() => this.follow());
    model.changed.connect(this.onChanged, this);
    // Marks are known only when the mounts are.
    model.keptChanged.connect(() => {
      if (model.kept && this.isVisible && browser.place?.name === model.selected) {
        void browser.model.refresh();
      }
    });
    for (const signal of [model.changed, model.selectionChanged, browser.chosenChanged]) {
      (signal as ISignal<unknown, unknown>).connect(() => this.commands.notifyCommandChanged());
    }
    model.transfersChanged.connect((_, transfer) => {
      if (transfer && !this.known.has(transfer.id)) {
        this.known.add(transfer.id);
        this.accordion.expand(TRANSFERS);
      }
      this.commands.notifyCommandChanged(CommandIDs.cancelAll);
      this.commands.notifyCommandChanged(CommandIDs.forgetAll);
    });
    model.transferOver.connect((_, transfer) => {
      const place = browser.place;
      const target = parseEndpoint(transfer.destination);
      if (place && target?.kind === place.kind && target.name === place.name) {
        void model.readKept(); // first: what it says of the entries is old
        void browser.model.refresh();
      }
    });
  }

  /** Read everything again that is shown. */
  async refresh(): Promise<void> {
    await this.model.refresh();
    if (!this.model.error) {
      await this.browser.model.refresh();
    }
  }

  /** Show the files of a place. */
  async open(place: IPlace): Promise<void> {
    this.model.select(place.kind === 'container' ? place.name : '');
    this.accordion.expand(FILES);
    await this.browser.list(place);
    this.browser.update();
  }

  protected onBeforeShow(msg: Message): void {
    super.onBeforeShow(msg);
    void this.refresh();
  }

  protected onAfterShow(msg: Message): void {
    super.onAfterShow(msg);
    if (!this.arranged) {
      // Sizes can be given only once it has one.
      this.arranged = true;
      this.accordion.collapse(TRANSFERS);
      this.accordion.setRelativeSizes(SIZES);
    }
  }

  private get accordion(): AccordionPanel {
    return this.content as AccordionPanel;
  }

  private addSection(label: string, content: Widget, buttons: string[]): PanelWithToolbar {
    const section = new PanelWithToolbar();
    section.addClass('jp-Volcopy-section');
    section.title.label = label;
    section.node.setAttribute('role', 'region');
    section.node.setAttribute('aria-label', label);
    section.toolbar.node.setAttribute('aria-label', label);
    for (const id of buttons) {
      section.toolbar.addItem(
        id,
        new CommandToolbarButton({ commands: this.commands, id, label: '' })
      );
    }
    section.addWidget(content);
    this.addWidget(section);
    return section;
  }

  /** Browsing into another container chooses that one. */
  private follow(): void {
    const place = placeOf(this.browser.model.path);
    if (place) {
      this.model.select(place.kind === 'container' ? place.name : '');
    }
  }

  private onChanged(): void {
    const { error } = this.model;
    this.problem.put(
      error && failureNotice(error, this.words, () => void this.refresh())
    );
    this.toggleClass('jp-mod-broken', error !== null);
    this.content.setHidden(error !== null);
  }

  private showFileProblem(error: ApiError | null): void {
    this.fileProblem.put(
      error && failureNotice(error, this.words, () => void this.browser.model.refresh())
    );
  }

  private arranged = false;
  /** Transfers that were seen before. */
  private readonly known = new Set<string>();
  private readonly problem = new Slot();
  private readonly fileProblem = new Slot();
}
