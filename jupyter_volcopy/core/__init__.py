"""The core: how a copy is planned and moved, and what a container keeps or loses.

Synchronous and free of tornado, traitlets, IPython, ipywidgets and argparse. From the bottom up:

- `model`, `control`, `paths`: the words, the counters, names as bytes;
- `endpoint`, `tar`, `localfs`, `spool`, `journal`, `policy`: one side of a copy, the archive
  format, writing below a directory, a disk-backed queue, what we have staged, who may do what;
- `engine`: the contract with Docker; `http`, `docker_engine`, `exec_archive`, `listing`,
  `owners`: that contract over a socket;
- `plan`: the rules of `docker cp`, pure; `mounts`, `removal`, `layer`, `dockerfile`: what is kept;
- `transfer*`, `pull`, `push`: run a plan; `copier`: the facade every door uses.
"""
