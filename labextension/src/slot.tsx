/** A place for one notice, empty most of the time. */

import { ReactWidget } from '@jupyterlab/ui-components';
import React from 'react';

import { INoticeProps, Notice } from './notice';

export class Slot extends ReactWidget {
  constructor() {
    super();
    this.hide();
  }

  /** Show a notice, or nothing. */
  put(notice: INoticeProps | null): void {
    this.notice = notice;
    this.setHidden(notice === null);
    this.update();
  }

  protected render(): JSX.Element | null {
    return this.notice && <Notice {...this.notice} />;
  }

  private notice: INoticeProps | null = null;
}
