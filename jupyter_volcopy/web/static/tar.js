// Files of a browser as one archive in the POSIX pax format (IEEE Std 1003.1, pax), for handing out.
"use strict";

// No module: the Hub gives what is loaded as one only with the XSRF token, which a script tag cannot send.
const archive = (() => {
  const encoder = new TextEncoder();

  function octal(value, length) {
    return value.toString(8).padStart(length - 1, "0") + "\0";
  }

  function header(name, length, type, seconds) {
    const block = new Uint8Array(512);
    const put = (text, offset) => block.set(encoder.encode(text), offset);
    put(name, 0);
    put(octal(type === "5" ? 0o755 : 0o644, 8), 100);
    put(octal(0, 8), 108);
    put(octal(0, 8), 116);
    put(octal(length, 12), 124);
    put(octal(seconds, 12), 136);
    put("        ", 148);
    put(type, 156);
    put("ustar\u000000", 257);
    const sum = block.reduce((a, b) => a + b, 0);
    put(octal(sum, 7) + " ", 148);
    return block;
  }

  // POSIX.1-2001 (pax): the name goes into a header of its own, so any name and length can be said.
  function entry(name, length, type, seconds) {
    const value = encoder.encode(name);
    let digits = 1;
    const fixed = value.length + " path=\n".length;
    while (String(fixed + digits).length !== digits) digits += 1;
    const record = new Uint8Array(fixed + digits);
    record.set(encoder.encode(`${fixed + digits} path=`), 0);
    record.set(value, digits + " path=".length);
    record[record.length - 1] = 10;
    return [header("pax", record.length, "x", 0), record, filling(record.length), header("entry", length, type, seconds)];
  }

  const filling = (length) => new Uint8Array((512 - (length % 512)) % 512);

  function archive(name, files) {
    const parts = [];
    const made = new Set();
    const folder = (path) => {
      if (made.has(path)) return;
      const above = path.lastIndexOf("/");
      if (above > 0) folder(path.slice(0, above));
      made.add(path);
      parts.push(...entry(path, 0, "5", Math.floor(Date.now() / 1000)));
    };
    folder(name);
    for (const [path, file] of files) {
      const full = `${name}/${path}`;
      folder(full.slice(0, full.lastIndexOf("/")));
      parts.push(...entry(full, file.size, "0", Math.floor(file.lastModified / 1000)), file, filling(file.size));
    }
    parts.push(new Uint8Array(1024));
    return new Blob(parts);
  }

  return archive;
})();
