// Trains on the page: runs the tape that tape.py has recorded, with ONNX Runtime, in a worker. Fetched by host.js with the
// runtime's own two files when a reader asks for what no record holds.

weightdecay.bring("trainer", (() => {
  // The worker's own text, since a page from a disk may load no file into one. It knows numbers and graphs, no chart.
  const work = () => {
    const FRAME_MS = 33, BREATH_MS = 8;
    const typed = { float32: Float32Array, float64: Float64Array, int64: BigInt64Array, bool: Uint8Array };
    const tapes = {};
    let ort, wanted = null; // what is to be trained next: {id, name, parameters, x}
    // Lets messages in, such as the one that ends this run; a timer would wait for four milliseconds.
    const { port1, port2 } = new MessageChannel();
    const breathe = () => new Promise((resolve) => ((port1.onmessage = resolve), port2.postMessage(0)));

    const start = async ({ module, wasm }) => {
      ort = await import(URL.createObjectURL(new Blob([module], { type: "text/javascript" })));
      Object.assign(ort.env.wasm, { numThreads: 1, wasmBinary: wasm });
      ort.env.logLevel = "error";
    };
    const load = async ({ name, program }) => {
      const sessions = {};
      for (const [name, { graph }] of Object.entries(program.functions)) {
        sessions[name] = await ort.InferenceSession.create(graph);
      }
      const constants = program.constants.map(({ type, shape, data }) => {
        const { buffer, byteOffset, byteLength } = data;
        return new ort.Tensor(type, new typed[type](buffer, byteOffset, byteLength / typed[type].BYTES_PER_ELEMENT), shape);
      });
      tapes[name] = { ...program, sessions, constants };
    };

    // How many numbers a template takes.
    const sizes = new Map();
    const constantsIn = (refs) => refs.filter(([kind]) => kind === "c").length;
    const sizeOf = (template) => {
      if (!sizes.has(template)) {
        const [kind, , rest] = template;
        const size = kind === "call" ? constantsIn(rest) : kind === "yield" ? 1 + constantsIn(Object.values(template[1])) : rest.reduce((sum, one) => sum + sizeOf(one), 0);
        sizes.set(template, size);
      }
      return sizes.get(template);
    };
    // The tape at full length, one call or yield after the other.
    const walk = function* (items) {
      for (const [template, numbers] of items) {
        if (template[0] !== "repeat") {
          yield [template, numbers];
          continue;
        }
        const [, count, templates, strides] = template;
        for (let round = 0; round < count; round += 1) {
          let from = 0;
          yield* walk(
            templates.map((one) => {
              const part = [one, []];
              for (const to = from + sizeOf(one); from < to; from += 1) part[1].push(numbers[from] + round * strides[from]);
              return part;
            }),
          );
        }
      }
    };

    const train = async ({ id, name, parameters, x }) => {
      const tape = tapes[name];
      const places = new Map(x.map((value, i) => [value, i]));
      const given = Object.fromEntries(Object.entries(parameters).map(([name, value]) => [name, new ort.Tensor("float32", [value], [])]));
      const results = new Array(tape.depth + 1);
      const series = {};
      let calls = 0, sent = 0, breath = performance.now();
      const value = ([kind, a, b], next) =>
        kind === "p" ? given[a] : kind === "o" ? results[(calls - a) % results.length][b] : tape.constants[next()];
      const began = performance.now();
      for (const [template, numbers] of walk(tape.items)) {
        let taken = 0;
        const next = () => numbers[taken++];
        if (template[0] === "call") {
          const [, name, refs] = template;
          const session = tape.sessions[name], feeds = {};
          refs.forEach((ref, i) => {
            const tensor = value(ref, next);
            if (session.inputNames.includes(`i${i}`)) feeds[`i${i}`] = tensor; // what is not used is no input
          });
          const given = await session.run(feeds);
          results[calls % results.length] = tape.functions[name].outputs.map((output) => given[output]);
          calls += 1;
        } else {
          const step = next();
          const column = places.get(step);
          if (column === undefined) throw new Error(`the tape yields ${step}, which the record lacks`);
          let wrong = "";
          for (const [name, ref] of Object.entries(template[1])) {
            const number = Number(value(ref, next).data[0]);
            series[name] ??= new Float32Array(x.length).fill(NaN);
            if (!Number.isFinite(number)) wrong ||= `${name} is ${String(number).replace("Infinity", "inf").toLowerCase()}`;
            else if (!wrong) series[name][column] = number;
          }
          const now = performance.now();
          if (wrong) return { state: "diverged", series, seconds: (now - began) / 1000, step, wrong };
          if (now - sent > FRAME_MS) {
            postMessage({ id, state: "running", series, seconds: (now - began) / 1000 });
            sent = now;
          }
        }
        if (performance.now() - breath > BREATH_MS) {
          await breathe();
          breath = performance.now();
          if (wanted) return { state: "replaced" };
        }
      }
      return { state: "done", series, seconds: (performance.now() - began) / 1000 };
    };

    let busy = false;
    onmessage = async ({ data }) => {
      if (data.parameters || data.stop) {
        if (wanted) postMessage({ id: wanted.id, state: "replaced" });
        wanted = data;
      } else await (data.program ? load(data) : start(data)).then(() => postMessage({ id: data.id, state: "ready" }), fail(data));
      if (busy) return;
      busy = true;
      while (wanted) {
        const asked = wanted;
        wanted = null;
        if (asked.stop) postMessage({ id: asked.id, state: "ready" });
        else await train(asked).then((ended) => postMessage({ id: asked.id, ...ended }), fail(asked));
      }
      busy = false;
    };
    const fail = ({ id }) => (error) => postMessage({ id, state: "error", message: String(error?.message ?? error) });
  };

  // The bytes of files that were packed with gzip and written as text, so that a page from a disk can have them too.
  const unpack = async (texts) => {
    const packed = texts.map((text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)));
    return new Response(new Blob(packed).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  };

  // Starts the worker: its answers come to who has asked, by a number. parts: names of the scripts that hold the runtime.
  const begin = async (fetchScript, [first, ...rest], progress) => {
    const texts = [];
    const module = await fetchScript(first);
    for (const name of rest) {
      texts.push(await fetchScript(name));
      progress(texts.length / rest.length);
    }
    const worker = new Worker(URL.createObjectURL(new Blob([`(${work})()`], { type: "text/javascript" })));
    const asked = new Map();
    let count = 0, gone = null;
    // A worker that has failed once is not asked again.
    const fail = (message) => {
      gone = message;
      worker.terminate();
      asked.forEach((hear) => hear({ state: "error", message }));
    };
    worker.onerror = ({ message }) => fail(message);
    worker.onmessage = ({ data }) => (data.state === "error" ? fail(data.message) : asked.get(data.id)(data));
    // Each answer is given to `hear`; what is returned fulfils with the last.
    const ask = (message, hear = () => {}) =>
      new Promise((resolve, reject) => {
        if (gone) return reject(new Error(gone));
        const id = (count += 1);
        asked.set(id, (answer) => {
          hear(answer);
          if (answer.state === "running") return;
          asked.delete(id);
          if (answer.state === "error") reject(new Error(answer.message));
          else resolve(answer);
        });
        worker.postMessage({ id, ...message });
      });
    await ask({ module: await unpack([module]), wasm: await unpack(texts) });
    return ask;
  };
  return { begin };
})());
