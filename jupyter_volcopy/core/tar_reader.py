"""Reading an archive from a stream: one buffer, one pass, constant memory.

A container's archive is as hostile as the container (safety S10, S11), so the reader is strict by
default: it takes what engines send and refuses everything that two readers could understand in two
ways. `lenient` is for archives people hand us themselves; it reads what GNU tar, bsdtar, git and
old tars write. Names are only checked for what no file name can be (empty, NUL); where they may
lead is decided in `members`.

Content never passes through per-block Python work: it is handed on as slices of the one buffer.
"""

from __future__ import annotations

from jupyter_volcopy.core.model import Entry, Kind
from jupyter_volcopy.core.paths import decode
from jupyter_volcopy.core.tar import (
    BLOCK,
    BUFFER,
    FIELDS,
    GNU_MAGIC,
    MAX_DEPTH,
    MAX_EXTENDED,
    POSIX_MAGIC,
    checksum,
    compression,
    number,
    pax_records,
    pax_time,
)
from jupyter_volcopy.errors import CutStream, LimitExceeded, UnsafeEntry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn, Protocol
else:
    Protocol = object

__all__ = ["ByteSource", "TarReader"]

_ZERO = bytes(BLOCK)
_NO_DEVICE = bytes(8)
_NO_PREFIX = bytes(155)
_MAX_SIZE = (1 << 63) - 1
_MAX_ID = (1 << 32) - 2  # the last one means "unchanged" to chown
_NOBODY = 65534
_MAX_SECONDS = 1 << 40  # some 35 000 years; no file system holds more
_ANY = 1 << 100  # beyond what a field can hold
_MAX_TAIL = 1 << 20  # zeros after the end mark: writers pad to at most this
_MAX_EXTENDED_COUNT = 64  # extended headers of one member, where more than one of a kind may be

_KINDS = {
    b"0": Kind.FILE,
    b"1": Kind.HARDLINK,
    b"2": Kind.SYMLINK,
    b"3": Kind.CHARACTER,
    b"4": Kind.BLOCK,
    b"5": Kind.DIRECTORY,
    b"6": Kind.FIFO,
}
_LENIENT_KINDS = {
    **_KINDS,
    b"\0": Kind.FILE,
    b"7": Kind.FILE,
    b"S": Kind.FILE,
    b"D": Kind.DIRECTORY,
}
_WELL_FORMED = (b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime")
_XATTR = b"SCHILY.xattr."


class ByteSource(Protocol):
    """Where an archive comes from."""

    def readinto(self, buffer: memoryview) -> int:
        """Fill some of `buffer`; returns the number of bytes, 0 at the end."""
        ...


class TarReader:
    """The members of an archive, in order.

    Example:
        >>> for entry in reader:
        ...     if entry.kind is Kind.FILE:
        ...         reader.read(file.write)

    Args:
        source: the stream. It is read to its end.
        lenient: accept what people's tars hold, not only what engines send: global headers
            (ignored, as docker does), sparse files, v7 and old GNU headers, volume labels (left
            out), an archive without its end mark (see `complete`), anything after it.
        max_entries: most members, or None.
        max_bytes: most bytes of content, holes of sparse files included, or None.

    Attributes:
        complete: True once the end mark was seen; only a lenient reader can end without it.
    """

    def __init__(
        self,
        source: ByteSource,
        *,
        lenient: bool = False,
        max_entries: int | None = None,
        max_bytes: int | None = None,
    ) -> None:
        self.complete = False
        self._source = source
        self._lenient = lenient
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._buffer = bytearray(BUFFER)
        self._view = memoryview(self._buffer)
        self._at = 0  # next byte in the buffer
        self._end = 0  # end of what is filled
        self._base = 0  # position in the stream of the buffer's first byte
        self._left = 0  # content of the current entry not yet handed on
        self._pad = 0  # zeros after it
        self._name = ""  # of the current entry, for messages
        self._limited = max_entries is not None or max_bytes is not None
        self._entries = 0
        self._bytes = 0
        # the same few modes, owners and times over and over; only values good for every field
        self._numbers: dict[bytes, int] = {}
        self._tail = b""  # of the last header that was looked at to its end, and what it says
        self._said = (b"", "", "")
        self._finished = False

    @property
    def position(self) -> int:
        """Bytes of the archive consumed so far: at a new entry, where its content begins."""
        return self._base + self._at

    def __iter__(self) -> Iterator[Entry]:
        """The entries, lazily; content that was not read is skipped.

        Raises:
            UnsafeEntry: this is not an archive, or not one an engine sends.
            CutStream: it ended before its end mark.
            LimitExceeded: more entries or bytes than allowed.
        """
        while not self._finished:
            entry = self._next()
            if entry is None:
                self._finished = True
                return
            yield entry

    def read(self, write: Callable[[memoryview], object]) -> int:
        """Hand the content of the current entry to `write`, piece by piece.

        Args:
            write: gets pieces of at most 1 MiB. They are overwritten after it returns.

        Returns:
            The number of bytes handed on: all that was not read before.

        Raises:
            CutStream: the archive ended within the content.
        """
        total = left = self._left
        view = self._view
        while left:
            at = self._at
            have = self._end - at
            if not have:
                have = self._refill()
                at = 0
            if have > left:
                have = left
            write(view[at : at + have])
            self._at = at + have
            left -= have
            self._left = left
        return total

    # ------------------------------------------------------------------ bytes

    def _refill(self) -> int:
        """Fill the empty buffer; returns the number of bytes, at least one."""
        self._base += self._at
        self._at = self._end = 0
        got = self._source.readinto(self._view)
        if not got:
            self._cut()
        self._end = got
        return got

    def _skip(self, count: int) -> None:
        while count:
            have = self._end - self._at or self._refill()
            step = have if have < count else count
            self._at += step
            count -= step

    def _skip_content(self) -> None:
        """Go to the next header."""
        while self._left:
            have = self._end - self._at or self._refill()
            step = have if have < self._left else self._left
            self._at += step
            self._left -= step
        pad, self._pad = self._pad, 0
        self._skip(pad)

    def _block(self, optional: bool = False) -> bytes:
        """The next 512 bytes; nothing at a clean end, if that may be."""
        at = self._at
        if self._end - at < BLOCK:
            have = self._end - at
            self._buffer[:have] = self._buffer[at : self._end]
            self._base += at
            self._at = at = 0
            self._end = have
            while self._end < BLOCK:
                got = self._source.readinto(self._view[self._end :])
                if not got:
                    if optional and not self._end:
                        return b""
                    if not self.position:
                        self._refuse_compressed(bytes(self._view[: self._end]))
                    self._cut()
                self._end += got
        self._at = at + BLOCK
        return bytes(self._view[at : at + BLOCK])

    def _content(self, size: int) -> bytes:
        """The whole content of an extended header."""
        if not 0 <= size <= MAX_EXTENDED:
            raise LimitExceeded(
                f"archive/tar: an extended header of {size} bytes after {self._place()}",
                hint=f"at most {MAX_EXTENDED} bytes are read",
            )
        out = bytearray()
        while len(out) < size:
            have = self._end - self._at or self._refill()
            step = min(have, size - len(out))
            out += self._view[self._at : self._at + step]
            self._at += step
        self._skip(-size % BLOCK)
        return bytes(out)

    # ----------------------------------------------------------------- errors

    def _place(self) -> str:
        return f'"{self._name}"' if self._name else "the start"

    def _cut(self) -> NoReturn:
        if self._left:
            where = f'the archive ended while "{self._name}" was read'
        elif self._name:
            where = f'the archive ended early, after "{self._name}"'
        else:
            where = "the archive ended early" if self._base + self._end else "the archive is empty"
        raise CutStream(
            f"unexpected EOF: {where}",
            hint="the copy is not complete; try again",
            name=self._name,
            position=self._base + self._end,
        )

    def _refuse(self, why: str) -> NoReturn:
        raise UnsafeEntry(
            f"archive/tar: invalid tar header: {why}, near {self._place()}",
            position=self.position,
        )

    def _refuse_compressed(self, start: bytes) -> None:
        kind = compression(start)
        if kind:
            raise UnsafeEntry(
                f"archive/tar: invalid tar header: the archive is compressed ({kind})",
                hint="a plain tar archive is needed here",
            )

    def _number(self, raw: bytes, what: str, *, least: int = 0, most: int = _MAX_SIZE) -> int:
        try:
            value = number(raw, lenient=self._lenient)
        except ValueError:
            self._refuse(f"{what} is not a number")
        if not least <= value <= most:
            self._refuse(f"{what} is out of range")
        if 0 <= value <= _MAX_ID and len(self._numbers) < 4096:
            self._numbers[raw] = value
        return value

    def _decimal(self, text: bytes, what: str, most: int = _MAX_SIZE) -> int:
        if not text.isdigit() or len(text) > 20 or int(text) > most:
            self._refuse(f"PAX {what} is not a number")
        return int(text)

    def _owner(self, value: int, what: str) -> int:
        """What an owner out of range becomes."""
        if not self._lenient:
            self._refuse(f"{what} {value} is out of range")
        return _NOBODY

    def _text(self, raw: bytes, what: str) -> bytes:
        """A text field up to its NUL; in a strict archive nothing stands behind it."""
        text = raw.rstrip(b"\0")
        if b"\0" in text:
            if not self._lenient:
                self._refuse(f"NUL in {what}")
            text = text.partition(b"\0")[0]
        return text

    # ---------------------------------------------------------------- headers

    def _next(self) -> Entry | None:
        if self._left or self._pad:
            self._skip_content()
        pax: list[tuple[bytes, bytes]] | None = None
        long_name: bytes | None = None
        long_link: bytes | None = None
        extended = 0
        while True:
            block = self._block(self._lenient)
            if not block or block == _ZERO:
                if pax is not None or long_name is not None or long_link is not None:
                    if not block:
                        self._cut()
                    self._refuse("an extended header without a member")
                self._finish(block)
                return None
            fields = FIELDS.unpack(block)
            kind = fields[7]
            self._check(block, fields)
            if kind in b"xXLKg" or (self._lenient and kind in b"VN"):
                extended += 1
                if extended > _MAX_EXTENDED_COUNT:
                    raise LimitExceeded(
                        f"archive/tar: more than {_MAX_EXTENDED_COUNT} extended headers in a row "
                        f"after {self._place()}"
                    )
                size = self._number(fields[4], "size")
                if not self._lenient:
                    for at in (1, 2, 3, 5, 12, 13):
                        if fields[at].strip(b"\0"):
                            self._number(
                                fields[at], "a field of an extended header", least=-_ANY, most=_ANY
                            )
                if kind in b"gVN" and self._lenient:
                    self._count_bytes(size)
                    self._left, self._pad = size, -size % BLOCK
                    self._skip_content()
                    continue
                if kind == b"x" or (kind == b"X" and self._lenient):
                    if pax is not None and not self._lenient:
                        self._refuse("two PAX headers in a row")
                    pax = self._pax(self._content(size))
                elif kind in b"LK":
                    given = long_name if kind == b"L" else long_link
                    if given is not None and not self._lenient:
                        self._refuse("two long names in a row")
                    text = self._long(self._content(size))
                    if kind == b"L":
                        long_name = text
                    else:
                        long_link = text
                else:
                    self._refuse(f'type "{kind.decode()}", which no engine sends')
                continue
            return self._entry(block, fields, pax, long_name, long_link)

    def _check(self, block: bytes, fields: tuple[bytes, ...]) -> None:
        """Refuse what is not a header, or not one whose layout we know."""
        total = checksum(block)
        if fields[6] != b"%06o\0 " % total:  # nearly everybody writes it so
            try:
                said = number(fields[6], lenient=self._lenient)
            except ValueError:
                said = -1
            if said != total and not (self._lenient and said == _signed(block)):
                if self.position == BLOCK:
                    self._refuse_compressed(block)
                self._refuse("wrong checksum")
        if self._lenient:
            return
        magic = fields[9]
        if magic == POSIX_MAGIC:
            if fields[15] != _ZERO[:12]:
                self._refuse("bytes behind the header's end")
        elif magic == GNU_MAGIC:
            if block[345:] != _ZERO[345:]:
                self._refuse("old GNU extensions, which no engine sends")
        else:
            self._refuse("neither POSIX nor GNU")

    def _finish(self, block: bytes) -> None:
        """What follows the first zero block, to the end of the stream."""
        if not block:
            return
        second = self._block(self._lenient)
        if second and second != _ZERO:
            self._refuse("a lone zero block")
        self.complete = True
        lenient = self._lenient
        end = self.position
        view = self._view
        while True:
            if not lenient and bytes(view[self._at : self._end]).strip(b"\0"):
                raise UnsafeEntry("archive/tar: something follows the end of the archive")
            self._base += self._end
            self._at = self._end = 0
            more = self._base - end
            if not lenient and more > _MAX_TAIL:
                raise LimitExceeded("archive/tar: zeros without end follow the archive")
            if self._max_bytes is not None and self._bytes + more > self._max_bytes + _MAX_TAIL:
                raise LimitExceeded("archive/tar: too much follows the end of the archive")
            got = self._source.readinto(view)
            if not got:
                return
            self._end = got

    def _pax(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """The records of an extended header, each checked as far as it stands alone."""
        try:
            records = pax_records(data, lenient=self._lenient)
        except ValueError as error:
            self._refuse(str(error))
        if self._lenient:
            return records
        seen = set()
        for key, value in records:
            if key in seen:
                self._refuse(f'PAX keyword "{decode(key)}" twice')
            seen.add(key)
            if key.startswith(b"GNU.") or key in (b"SCHILY.realsize", b"SCHILY.filetype"):
                self._refuse(f'PAX keyword "{decode(key)}", which no engine sends')
            if not value and key in _WELL_FORMED:
                self._refuse(f'an empty PAX "{decode(key)}"')
        return records

    def _long(self, data: bytes) -> bytes:
        text, nul, rest = data.partition(b"\0")
        if not text or (not self._lenient and (not nul or rest)):
            self._refuse("a long name that is not one text ended by NUL")
        return text

    def _entry(
        self,
        block: bytes,
        fields: tuple[bytes, ...],
        records: list[tuple[bytes, bytes]] | None,
        long_name: bytes | None,
        long_link: bytes | None,
    ) -> Entry:
        lenient = self._lenient
        flag = fields[7]
        kind = (_LENIENT_KINDS if lenient else _KINDS).get(flag)
        name = fields[0].rstrip(b"\0")
        if b"\0" in name:
            name = self._text(name, "a name")
        tail = block[257:]
        if tail != self._tail:  # mostly it is that of the member before
            self._said = self._read_tail(fields)
            self._tail = tail
        prefix, uname, gname = self._said
        if prefix:
            name = prefix + b"/" + name
        if long_name is not None:
            name = long_name
        link = b""
        if flag in b"12":
            link = long_link if long_link is not None else self._text(fields[8], "a link's target")
        known = self._numbers.get
        size = known(fields[4])
        if size is None:
            size = self._number(fields[4], "size")
        mtime = known(fields[5])
        if mtime is None:
            mtime = self._number(fields[5], "time", least=-_ANY, most=_ANY)
            mtime = max(-_MAX_SECONDS, min(mtime, _MAX_SECONDS))
        mtime *= 1_000_000_000
        wide = -_ANY if lenient else 0
        uid = known(fields[2])
        if uid is None:
            uid = self._number(fields[2], "uid", least=wide, most=_ANY)
        gid = known(fields[3])
        if gid is None:
            gid = self._number(fields[3], "gid", least=wide, most=_ANY)
        mode = known(fields[1])
        if mode is None:
            mode = self._number(fields[1], "mode")
        xattrs: dict[str, bytes] = {}
        if records is not None:
            pax = dict(records)
            if not lenient and (
                (long_name is not None and b"path" in pax)
                or (long_link is not None and b"linkpath" in pax)
            ):
                self._refuse("a long name and a PAX name for one member")
            for key, value in records:
                if key.startswith(_XATTR):
                    xattr = decode(key[len(_XATTR) :])
                    if not xattr:
                        self._refuse("an extended attribute without a name")
                    xattrs[xattr] = value
                elif not value:
                    continue  # lenient: an empty value takes the record back
                elif key == b"path":
                    if long_name is None:
                        name = value
                elif key == b"linkpath":
                    if long_link is None and flag in b"12":
                        link = value
                elif key == b"size":
                    size = self._decimal(value, "size")
                elif key == b"uid":
                    uid = self._decimal(value, "uid")
                elif key == b"gid":
                    gid = self._decimal(value, "gid")
                elif key == b"mtime":
                    try:
                        mtime = pax_time(value)
                    except ValueError:
                        self._refuse("PAX mtime is not a time")
                    most = _MAX_SECONDS * 1_000_000_000
                    mtime = max(-most, min(mtime, most))
                elif key == b"uname":
                    uname = decode(value)
                elif key == b"gname":
                    gname = decode(value)
        stored = size
        runs = None
        if lenient and (flag == b"S" or _is_sparse(records)):
            name, size, stored, runs = self._sparse(block, flag, name, size, records or [])
        if not name or b"\0" in name:
            self._refuse("NUL in a name" if name else "an empty name")
        self._name = shown = decode(name)
        if kind is None:
            raise UnsafeEntry(
                f'archive/tar: unhandled tar header type {flag[0]}: "{shown}"',
                hint="no engine sends this" if not lenient else "",
            )
        if shown[-1] == "/":
            if kind is not Kind.DIRECTORY:
                if not lenient:
                    self._refuse(f'a slash after the name of "{shown}", which is no directory')
                if kind is Kind.FILE:
                    kind = Kind.DIRECTORY  # so old tars say it
                    if flag == b"\0":
                        stored = 0
            if not lenient and shown.endswith("//"):
                self._refuse(f'an empty component in "{shown}"')
            shown = shown.rstrip("/") or "/"
        if kind is Kind.FILE:
            pass
        elif lenient:
            if flag not in b"07DS":
                stored = 0
            size = 0
        elif size:
            self._refuse(f'content in "{shown}", which is no file')
        if flag in b"12" and (not link or b"\0" in link):
            self._refuse(f'no target for the link "{shown}"' if not link else "NUL in a target")
        if shown.count("/") >= MAX_DEPTH:
            raise LimitExceeded(f"more than {MAX_DEPTH} levels: {shown[:200]}...")
        if self._limited:
            self._count(size, stored)
        self._left = stored
        self._pad = -stored % BLOCK
        if kind is not Kind.FILE and stored:
            self._skip_content()  # what GNU's incremental dumps say of a directory
        device = flag in b"34"
        return Entry(
            shown,
            kind,
            mode & 0o7777,
            uid if 0 <= uid <= _MAX_ID else self._owner(uid, "uid"),
            gid if 0 <= gid <= _MAX_ID else self._owner(gid, "gid"),
            size,
            mtime,
            decode(link) if link else "",
            self._device(fields[12]) if device else 0,
            self._device(fields[13]) if device else 0,
            xattrs,
            uname,
            gname,
            runs,
        )

    def _read_tail(self, fields: tuple[bytes, ...]) -> tuple[bytes, str, str]:
        """The prefix of the name and the names of the owners, from what ends a header."""
        prefix = b""
        if fields[14] != _NO_PREFIX and fields[9][:6] == POSIX_MAGIC[:6]:
            prefix = fields[14]
            if fields[15][8:] == b"tar\0":  # star keeps two times at the prefix's end
                prefix = prefix[:131]
            prefix = self._text(prefix, "a name")
        if not self._lenient:  # said of everything, so it has to be a number in everything
            for raw in fields[12:14]:
                if raw != _NO_DEVICE:
                    self._device(raw)
        uname = self._text(fields[10], "the owner's name")
        gname = self._text(fields[11], "the group's name")
        return prefix, decode(uname), decode(gname)

    def _device(self, raw: bytes) -> int:
        return self._number(raw, "a device number", most=(1 << 32) - 1)

    def _sparse(
        self,
        block: bytes,
        flag: bytes,
        name: bytes,
        stored: int,
        records: list[tuple[bytes, bytes]],
    ) -> tuple[bytes, int, int, list[tuple[int, int]]]:
        """Name, real length, stored length and runs of a sparse file."""
        from jupyter_volcopy.core import tar_sparse  # engines never send one

        pax = dict(records)
        name = pax.get(b"GNU.sparse.name") or name
        try:
            if flag == b"S":
                runs, real = tar_sparse.old_map(block, self._block)
            else:
                real = self._decimal(
                    pax.get(b"GNU.sparse.realsize") or pax.get(b"GNU.sparse.size", b""),
                    "size of a sparse file",
                )
                found = tar_sparse.pax_map(records)
                if found is None:
                    runs, used = tar_sparse.read_map(stored, self._block)
                    stored -= used
                else:
                    runs = found
            return name, real, stored, tar_sparse.checked(runs, real, stored)
        except ValueError as error:
            self._refuse(f'{error}, in "{decode(name)}"')

    def _count(self, size: int, stored: int) -> None:
        self._entries += 1
        if self._max_entries is not None and self._entries > self._max_entries:
            raise LimitExceeded(
                f"more than {self._max_entries} entries in the archive",
                hint="raise the limit of entries if this is right",
                limit=self._max_entries,
            )
        self._count_bytes(size if size > stored else stored)

    def _count_bytes(self, size: int) -> None:
        self._bytes += size
        if self._max_bytes is not None and self._bytes > self._max_bytes:
            raise LimitExceeded(
                f'more than {self._max_bytes} bytes in the archive, at "{self._name}"',
                hint="raise the limit of bytes if this is right",
                limit=self._max_bytes,
            )


def _is_sparse(records: list[tuple[bytes, bytes]] | None) -> bool:
    return any(key in (b"GNU.sparse.realsize", b"GNU.sparse.size") for key, _ in records or ())


def _signed(block: bytes) -> int:
    """The checksum of old machines whose characters were signed."""
    total = checksum(block)
    return total - 256 * sum(1 for byte in block[:148] + block[156:] if byte >= 128)
