// What a network reads when its levels are quantized one after the other, each with formats of its own: the view of
// fewbits.explore.settings_by_level.accuracy_by_level.
(() => {
  "use strict";
  const { Reader, inWords, shares } = window.FewBits;

  const KINDS = ["kernel", "input", "output"];
  const moved = (msb, shift) => (Array.isArray(msb) ? msb.map((each) => each + shift) : msb + shift);

  const views = (window.FewBits.views ??= {});

  views.accuracy_by_level = ({ reader: data, levels, tables }) => {
    const reader = new Reader(data);
    const { network } = reader;
    const seen = new Map(); // the settings of the levels that are on -> how many digits are read
    const weights = Object.fromEntries(network.layers.map((layer) => [layer.name, layer.weights]));
    const names = Object.keys(levels);

    /** Quantize the first `on` levels; the others compute in float. */
    function switchOn(on, values) {
      names.forEach((name, n) => {
        const [nbits, shift] = [values[`${name}_bits`], values[`${name}_msb_shift`]];
        for (const layer of levels[name]) {
          const formats = KINDS.map((kind, i) => [kind, tables[values.rule][layer][i]])
            .filter(([, msb]) => msb !== null)
            .map(([kind, msb]) => [kind, n < on ? { msb: moved(msb, shift), nbits, signed: true } : null]);
          network.setFormats(layer, { ...Object.fromEntries(formats), rounding: values.rounding });
        }
      });
    }

    function keyOf(on, values) {
      const own = names.slice(0, on).map((name) => [values[`${name}_bits`], values[`${name}_msb_shift`]]);
      return JSON.stringify(on ? [values.rule, values.rounding, own] : []);
    }

    function view(values, counts) {
      const total = reader.labels.length;
      const last = counts.at(-1);
      const lost = counts.slice(1).map((right, n) => counts[n] - right);
      const bits = names.flatMap((name) => levels[name].map((layer) => weights[layer] * values[`${name}_bits`]));
      return {
        traces: [{ y: counts.map((right) => (right === undefined ? null : right / total)) }],
        readings: {
          accuracy: last === undefined ? "counting" : shares.shareInWords(last, total),
          "under float": last === undefined ? "counting" : `${inWords.signed((100 * (counts[0] - last)) / total, 1)} points`,
          "loses most": last === undefined ? "counting" : names[lost.indexOf(Math.max(...lost))],
          weights: `${Math.ceil(bits.reduce((a, b) => a + b) / 8).toLocaleString("en")} bytes`,
        },
      };
    }

    return async function* (values, places, onProgress) {
      const keys = [...names, ""].map((_, on) => keyOf(on, values));
      const counts = () => keys.map((key) => seen.get(key));
      switchOn(names.length, values); // which ends the count of other settings
      yield view(values, counts());
      for (const [on, key] of keys.entries()) {
        if (seen.has(key)) continue;
        switchOn(on, values);
        const { right } = await reader.count({ onProgress: ({ done, total }) => onProgress((on + done / total) / keys.length) });
        seen.set(key, right);
        yield view(values, counts());
      }
    };
  };
})();
