// A helper process: it runs native code for the main process, and reports to it over a channel.

"use strict";

const { spawnSync } = require("node:child_process");

process.once("message", ({ program }) => {
    const done = spawnSync(program, { stdio: "inherit" });
    process.send(done.error ? String(done.error) : `status ${done.status}`, () => {
        process.exitCode = done.status ?? 1;
        process.disconnect();
    });
});
