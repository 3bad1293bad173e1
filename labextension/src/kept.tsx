/** The section "Kept or lost": mounts, who shares them, the forecast, and the rescue. */

import { UseSignal } from '@jupyterlab/ui-components';
import React from 'react';

import { size } from './format';
import { bytesLost, mountFate } from './keeping';
import { rescueIcon } from './icons';
import type { VolcopyModel } from './model';
import { MountRow } from './mount';
import { failureNotice, Notice } from './notice';
import { IPlace } from './places';
import { Sharing } from './sharing';
import { IForecast, IForecastItem, IKept, Way, WAYS } from './tokens';
import type { IWords } from './words';

/** No more than this of what is lost is listed. */
const LIST_MOST = 100;

export interface IKeptProps {
  model: VolcopyModel;
  words: IWords;
  open: (place: IPlace) => void;
  rescue: () => void;
}

export function Kept(props: IKeptProps): JSX.Element {
  return <UseSignal signal={props.model.keptChanged}>{() => <Body {...props} />}</UseSignal>;
}

function Body(props: IKeptProps): JSX.Element {
  const { model, words } = props;
  if (!model.selected) {
    return <Notice title={words.__('Choose a container to see what is kept of it')} />;
  }
  if (model.keptError) {
    return (
      <Notice {...failureNotice(model.keptError, words, () => void model.readKept())} />
    );
  }
  if (!model.kept) {
    return <Notice busy title={words.__('Looking at %1…', model.selected)} />;
  }
  return (
    <div className="jp-Volcopy-kept" aria-busy={model.keptLoading}>
      {forecastView(model.kept.forecast, props)}
      {mountsView(model.kept, props)}
    </div>
  );
}

/** A way of removal in words. */
export function wayText(way: Way, words: IWords): string {
  return {
    rm: words.__('is removed (docker rm)'),
    'rm-v': words.__('is removed with its volumes (docker rm -v)'),
    'auto-remove': words.__('ends and was run with --rm'),
    recreate: words.__('is made anew from its image'),
    prune: words.__('is removed, then volumes are pruned'),
    spawner: words.__('is removed by DockerSpawner')
  }[way];
}

function forecastView(forecast: IForecast, props: IKeptProps): JSX.Element {
  const { model, words } = props;
  const lost = forecast.lost;
  return (
    <section aria-label={words.__('Forecast')}>
      <label className="jp-Volcopy-how">
        {words.__('If the container')}
        <select
          className="jp-mod-styled"
          aria-label={words.__('If the container')}
          value={model.how}
          onChange={event => model.setHow(event.target.value as Way)}
        >
          {WAYS.map(way => (
            <option key={way} value={way}>
              {wayText(way, words)}
            </option>
          ))}
        </select>
      </label>
      <div className="jp-Volcopy-sum" role="status" data-lost={lost.length > 0}>
        {lost.length
          ? words._n(
              '%1 item is lost, %2',
              '%1 items are lost, %2',
              lost.length,
              size(bytesLost(forecast))
            )
          : words.__('Nothing is lost')}
        {forecast.unknown.length > 0 && (
          <span> · {words._n('%1 unknown', '%1 unknown', forecast.unknown.length)}</span>
        )}
      </div>
      {lost.length > 0 && (
        <>
          <button
            className="jp-Button jp-mod-styled jp-mod-accept jp-Volcopy-rescue"
            onClick={props.rescue}
            title={words.__('Save all that would be lost to your files')}
          >
            <rescueIcon.react tag="span" elementSize="normal" />
            {words.__('Rescue…')}
          </button>
          <ul className="jp-Volcopy-items" aria-label={words.__('What is lost')}>
            {lost.slice(0, LIST_MOST).map(item => itemRow(item))}
          </ul>
          {lost.length > LIST_MOST && (
            <p className="jp-Volcopy-detail">
              {words.__('and %1 more', lost.length - LIST_MOST)}
            </p>
          )}
        </>
      )}
    </section>
  );
}

function itemRow(item: IForecastItem): JSX.Element {
  const name = item.path ?? item.volume ?? '';
  return (
    <li key={name} title={`${name}\n${item.why}`}>
      <span className="jp-Volcopy-path">{name}</span>
      <span className="jp-Volcopy-size">{item.bytes === null ? '' : size(item.bytes)}</span>
    </li>
  );
}

function mountsView(kept: IKept, { model, words, open }: IKeptProps): JSX.Element {
  return (
    <section aria-label={words.__('Mounts')}>
      <h3 className="jp-Volcopy-heading">{words.__('Mounts')}</h3>
      {kept.mounts.length ? (
        <ul className="jp-Volcopy-mounts">
          {kept.mounts.map(mount => (
            <MountRow
              key={mount.target}
              mount={mount}
              fate={mountFate(mount, kept.forecast)}
              words={words}
              open={() => open({ kind: 'container', name: model.selected, path: mount.target })}
            />
          ))}
        </ul>
      ) : (
        <p className="jp-Volcopy-detail">
          {words.__('No mounts: everything written in it goes with the container.')}
        </p>
      )}
      <Sharing container={model.selected} mounts={kept.mounts} words={words} />
    </section>
  );
}
