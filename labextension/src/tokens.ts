/**
 * The words that the server and this extension share (design, section 10), and the token by which
 * other extensions reach the model.
 */

import { Token } from '@lumino/coreutils';

import type { VolcopyModel } from './model';

/** The model of the panel, for other extensions. */
export type IVolcopy = VolcopyModel;

export const IVolcopy = new Token<IVolcopy>(
  'jupyter-volcopy:IVolcopy',
  'Containers, what is kept or lost of them, and transfers.'
);

/** Version of the REST API that this extension speaks. */
export const SPOKEN_API = 1;

export interface IEngine {
  version: string;
  api_version: string;
  address: string;
  local: boolean;
  name: string;
}

export interface IStatus {
  version: string;
  /** Version of the REST API. */
  api: number;
  engine: IEngine;
  /** Engines that can be named, the usual one ("") first; missing where it is the only one. */
  engines?: { name: string; answers: boolean }[];
  user: { name: string; admin: boolean };
  may: { engine: boolean; local_files: boolean; hidden_files: boolean };
}

export interface IMount {
  type: string;
  target: string;
  source: string;
  name: string;
  read_only: boolean;
}

export interface IContainer {
  id: string;
  name: string;
  image: string;
  state: string;
  labels?: Record<string, string>;
  mounts: IMount[];
}

export interface IVolume {
  name: string;
  driver: string;
  kind: 'anonymous' | 'named';
  used_by: { container: string; state: string; target: string }[];
}

export interface IEntry {
  name: string;
  /** Bytes of the name, where they cannot be shown. */
  name_base64?: string;
  kind: string;
  mode: string;
  uid: number;
  gid: number;
  owner: string;
  group: string;
  size: number;
  modified: string;
  link_target?: string;
}

export interface IListing {
  path: string;
  entries: IEntry[];
  /** False where a budget ended the listing early. */
  complete: boolean;
  total: number | null;
  /** Where the next page begins. */
  next: string | null;
}

/** One mount of a container and what happens to it. */
export interface IPlaceFacts {
  target: string;
  kind: string;
  origin: string;
  source: string;
  read_only: boolean;
  shared_with: string[];
  hides: string[];
  hidden_by: string[];
  survives: boolean;
  volume: string;
  why: string;
  size?: number;
}

export interface IForecastItem {
  path?: string;
  volume?: string;
  target?: string;
  kind: string;
  bytes: number | null;
  modified: string;
  why: string;
  flag: string;
}

export interface IForecast {
  how: string;
  container: string;
  lost: IForecastItem[];
  kept: IForecastItem[];
  unknown: IForecastItem[];
  caches: number;
}

export interface IKept {
  mounts: IPlaceFacts[];
  forecast: IForecast;
}

/** The ways in which a container can be removed. */
export const WAYS = ['rm', 'rm-v', 'auto-remove', 'recreate', 'prune', 'spawner'] as const;
export type Way = (typeof WAYS)[number];

export interface IProgress {
  entries: number;
  entries_total: number | null;
  bytes: number;
  bytes_total: number | null;
  current: string;
  seconds: number;
}

export interface IErrorBody {
  code: string;
  message: string;
  hint: string;
  context: Record<string, unknown>;
}

export interface INote {
  path: string;
  text: string;
  code: string;
}

export interface IReport {
  ok: boolean;
  direction: string;
  files: number;
  bytes: number;
  created: number;
  replaced: number;
  landed: { path: string }[];
  skipped: INote[];
  warnings: INote[];
  failed: INote[];
}

export type TransferState = 'queued' | 'running' | 'done' | 'failed' | 'cancelled';

export interface ITransfer {
  id: string;
  owner: string;
  state: TransferState;
  cancelling: boolean;
  sources: string[];
  destination: string;
  /** What was asked for; `rescue` is the way of removal that a rescue is about. */
  options?: { rescue?: Way };
  progress: IProgress;
  report: IReport | null;
  error: IErrorBody | null;
  created: string;
  started: string | null;
  finished: string | null;
  /** True of an upload that this browser sends; the server does not know it. */
  local?: boolean;
}

export interface IPlanStep {
  source: string;
  destination: string;
  action: string;
  files: number | null;
  bytes: number | null;
  lost_with_container: boolean;
  replaces: { path: string }[];
  skips: INote[];
  notes: INote[];
}

export interface IPlan {
  steps: IPlanStep[];
}

/** Whether nothing more will happen to a transfer. */
export function isOver(transfer: ITransfer): boolean {
  return ['done', 'failed', 'cancelled'].includes(transfer.state);
}
