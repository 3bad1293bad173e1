/** Our icons; the theme colours them by class. */

import { LabIcon } from '@jupyterlab/ui-components';

import boxSvg from '../style/icons/box.svg';
import intoSvg from '../style/icons/into.svg';
import outSvg from '../style/icons/out.svg';
import rescueSvg from '../style/icons/rescue.svg';

/** A container. */
export const boxIcon = new LabIcon({ name: 'jupyter-volcopy:box', svgstr: boxSvg });

/** Something goes into a container. */
export const intoIcon = new LabIcon({ name: 'jupyter-volcopy:into', svgstr: intoSvg });

/** Something comes out of a container. */
export const outIcon = new LabIcon({ name: 'jupyter-volcopy:out', svgstr: outSvg });

/** Something is saved from being lost. */
export const rescueIcon = new LabIcon({ name: 'jupyter-volcopy:rescue', svgstr: rescueSvg });
