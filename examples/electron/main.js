// The main process of an app. It starts a helper, passes it work, and ends with the helper's status.
//
// node main.js PROGRAM    PROGRAM is the native code that the helper runs: see ../c

"use strict";

const { fork } = require("node:child_process");
const path = require("node:path");

const helper = fork(path.join(__dirname, "helper.js"));
helper.send({ program: process.argv[2] });
helper.on("message", (answer) => console.log(`main: the helper (pid ${helper.pid}) is done: ${answer}`));
helper.on("exit", (status) => {
    process.exitCode = status ?? 1;
});
