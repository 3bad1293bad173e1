/** The Containers section: containers and volumes, with a filter. */

import { UseSignal } from '@jupyterlab/ui-components';
import React, { useState } from 'react';

import { stateWord } from './listing';
import type { VolcopyModel } from './model';
import { Notice } from './notice';
import { IPlace, splitEngine } from './places';
import { Row } from './row';
import { IContainer, IVolume } from './tokens';
import type { IWords } from './words';

export interface IContainersProps {
  model: VolcopyModel;
  words: IWords;
  /** Show the files of a container or volume. */
  open: (place: IPlace) => void;
}

export function Containers(props: IContainersProps): JSX.Element {
  const { model } = props;
  const [filter, setFilter] = useState('');
  const [engine, setEngine] = useState<string | null>(null);
  return (
    <UseSignal signal={model.changed}>
      {() => (
        <UseSignal signal={model.selectionChanged}>
          {() => <List {...props} {...{ filter, setFilter, engine, setEngine }} />}
        </UseSignal>
      )}
    </UseSignal>
  );
}

interface IListProps extends IContainersProps {
  filter: string;
  setFilter: (filter: string) => void;
  /** The engine whose containers are shown; null for all. */
  engine: string | null;
  setEngine: (engine: string | null) => void;
}

/** Whose a container is, as its labels say; "" where they do not. */
export function ownerOf(one: IContainer): string {
  const labels = Object.entries(one.labels ?? {});
  return labels.find(([name]) => /(^|[./])owner$/i.test(name))?.[1] ?? '';
}

function List(props: IListProps): JSX.Element {
  const { model, words, filter } = props;
  if (model.loading && !model.containers.length) {
    return <Notice busy title={words.__('Looking for containers…')} />;
  }
  const wanted = filter.trim().toLowerCase();
  const fits = (...texts: string[]): boolean =>
    texts.some(text => text.toLowerCase().includes(wanted));
  const engines = model.engines;
  const chosen = engines.some(one => one.name === props.engine) ? props.engine : null;
  const here = (one: { name: string }): boolean =>
    chosen === null || splitEngine(one.name).engine === chosen;
  const containers = model.containers.filter(
    one =>
      here(one) &&
      fits(one.name, one.image, one.state, stateWord(one.state, words), ownerOf(one))
  );
  const volumes = model.volumes.filter(one => here(one) && fits(one.name));
  const silent = engines.filter(one => !one.answers && (chosen === null || one.name === chosen));
  return (
    <div className="jp-Volcopy-containers">
      {engines.length > 1 && (
        <label className="jp-Volcopy-engine">
          {words.__('Engine')}
          <select
            className="jp-mod-styled"
            aria-label={words.__('Engine')}
            value={chosen === null ? ALL : engineValue(chosen)}
            onChange={event => {
              const value = event.target.value;
              props.setEngine(value === ALL ? null : value.slice(1));
            }}
          >
            <option value={ALL}>{words.__('all engines')}</option>
            {engines.map(({ name, answers }) => (
              <option key={name} value={engineValue(name)}>
                {answers
                  ? engineName(name, words)
                  : words.__('%1 (does not answer)', engineName(name, words))}
              </option>
            ))}
          </select>
        </label>
      )}
      {silent.map(({ name }) => (
        <p key={name} role="alert" className="jp-Volcopy-problem">
          {words.__('The engine %1 does not answer. Look whether it runs, then refresh.', name)}
        </p>
      ))}
      <input
        className="jp-Volcopy-filter"
        type="search"
        value={filter}
        placeholder={words.__('Filter by name, image, state')}
        aria-label={words.__('Filter containers and volumes')}
        onChange={event => props.setFilter(event.target.value)}
        onKeyDown={event => {
          if (event.key === 'Escape') {
            props.setFilter('');
          }
        }}
      />
      {!containers.length && !volumes.length && !silent.length && (
        <Notice
          title={wanted ? words.__('Nothing fits the filter') : words.__('No containers')}
          text={
            wanted
              ? undefined
              : words.__('The engine has no containers that you may see. Start one, then refresh.')
          }
        />
      )}
      {containers.length > 0 && (
        <ul role="listbox" aria-label={words.__('Containers')} className="jp-Volcopy-list">
          {containers.map(one => containerRow(one, props))}
        </ul>
      )}
      {volumes.length > 0 && (
        <>
          <h3 className="jp-Volcopy-heading">{words.__('Volumes')}</h3>
          <ul role="listbox" aria-label={words.__('Volumes')} className="jp-Volcopy-list">
            {volumes.map(one => volumeRow(one, props))}
          </ul>
        </>
      )}
    </div>
  );
}

/** A value of the choice that no name of an engine can be. */
const ALL = '';

function engineValue(name: string): string {
  return `=${name}`;
}

/** What an engine is called. */
function engineName(name: string, words: IWords): string {
  return name || words.__('the usual one');
}

/** The name on its engine, and the detail with that engine's name. */
function onEngine(
  full: string,
  detail: string,
  props: IListProps
): { name: string; detail: string } {
  const { engine, plain } = splitEngine(full);
  const tell = engine && engine !== props.engine;
  return { name: plain, detail: tell ? `${engine} · ${detail}` : detail };
}

function containerRow(one: IContainer, props: IListProps): JSX.Element {
  const { model, words, open } = props;
  const state = stateWord(one.state, words);
  const owner = ownerOf(one);
  const label = words.__('Container %1, %2, image %3', one.name, state, one.image);
  return (
    <Row
      key={one.id}
      id={one.name}
      {...onEngine(one.name, one.image, props)}
      state={one.state}
      stateText={state}
      owner={owner}
      selected={model.selected === one.name}
      label={owner ? `${label}, ${owner}` : label}
      open={() => open({ kind: 'container', name: one.name, path: '/' })}
    />
  );
}

function volumeRow(one: IVolume, props: IListProps): JSX.Element {
  const { words, open } = props;
  const users = one.used_by.length;
  const state = users ? 'used' : 'unused';
  const detail = users
    ? words._n('used by %1 container', 'used by %1 containers', users)
    : words.__('used by no container');
  return (
    <Row
      key={one.name}
      id={one.name}
      {...onEngine(
        one.name,
        one.kind === 'anonymous' ? `${words.__('anonymous')}, ${detail}` : detail,
        props
      )}
      state={state}
      stateText={stateWord(state, words)}
      selected={false}
      label={words.__('Volume %1, %2', one.name, detail)}
      open={() => open({ kind: 'volume', name: one.name, path: '/' })}
    />
  );
}
