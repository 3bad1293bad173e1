import { notebookText } from '../notebook';

it('a notebook is written as the Jupyter server writes it', () => {
  const text = notebookText({
    nbformat_minor: 5,
    nbformat: 4,
    metadata: {},
    cells: [
      {
        source: 'a\nb',
        cell_type: 'code',
        metadata: { trusted: true, tags: ['x'] },
        execution_count: null,
        outputs: [
          { output_type: 'stream', name: 'stdout', text: '1\n2\n' },
          {
            output_type: 'display_data',
            metadata: {},
            data: { 'text/plain': 'p\nq', 'application/json': { b: 'x\ny', a: 1 } }
          }
        ]
      }
    ]
  });
  const found = JSON.parse(text);
  expect(found.cells[0].source).toEqual(['a\n', 'b']);
  expect(found.cells[0].metadata).toEqual({ tags: ['x'] });
  expect(found.cells[0].outputs[0].text).toEqual(['1\n', '2\n']);
  expect(found.cells[0].outputs[1].data['text/plain']).toEqual(['p\n', 'q']);
  expect(found.cells[0].outputs[1].data['application/json']).toEqual({ a: 1, b: 'x\ny' });
  expect(Object.keys(found)).toEqual(['cells', 'metadata', 'nbformat', 'nbformat_minor']);
  expect(text.startsWith('{\n "cells": [\n')).toBe(true);
  expect(text.endsWith('}\n')).toBe(true);
});
