// Reads a JSON list of queries from standard input and writes a list that says for each whether Grafana's
// grammar takes it: null, or where the first error lies.
import { parser } from '@grafana/lezer-logql';

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);

const answers = JSON.parse(Buffer.concat(chunks).toString()).map((query) => {
  let at = null;
  parser.parse(query).iterate({
    enter(node) {
      if (node.type.isError && at === null) at = node.from;
    },
  });
  return at;
});
process.stdout.write(JSON.stringify(answers));
