/** The Transfers section: what waits, runs and is over. */

import { UseSignal } from '@jupyterlab/ui-components';
import React from 'react';

import type { VolcopyModel } from './model';
import { Notice } from './notice';
import { TransferRow } from './transfer';
import type { IWords } from './words';

export interface ITransfersProps {
  model: VolcopyModel;
  words: IWords;
}

export function Transfers({ model, words }: ITransfersProps): JSX.Element {
  return (
    <UseSignal signal={model.transfersChanged}>
      {() =>
        model.transfers.length ? (
          <ul className="jp-Volcopy-transfers" aria-label={words.__('Transfers')}>
            {model.transfers
              .slice()
              .reverse()
              .map(one => (
                <TransferRow key={one.id} transfer={one} model={model} words={words} />
              ))}
          </ul>
        ) : (
          <Notice
            title={words.__('No transfers')}
            text={words.__(
              'Drag files between the file browser and a container, or use the context menu.'
            )}
          />
        )
      }
    </UseSignal>
  );
}
