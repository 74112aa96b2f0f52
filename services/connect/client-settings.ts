import { setting } from "#platform/config/config.ts";

/** Settings of connect for clients that are too old. */
export const clientSettings = {
  minProtocolRevision: setting.integer({
    live: true,
    default: 1,
    min: 1,
    max: 1_000_000,
    unit: "revision",
    doc: "Lowest revision of the protocol that a client may speak; the sessions of older clients are refused with CLIENT_TOO_OLD. Raise it when you no longer support such clients.",
  }),
  minClientVersions: setting.list({
    live: true,
    default: [],
    items: {
      plural: 'rules such as "acme-ios=2.4.0"',
      allows: (item) => /^(\*|[A-Za-z0-9._-]{1,64})=[0-9]+(\.[0-9]+)*$/.test(item),
    },
    conflict(rules) {
      const names = rules.map((rule) => rule.split("=", 1)[0]);
      const twice = names.find((name, at) => names.indexOf(name) !== at);
      return twice === undefined ? undefined : `must have one rule for ${twice}`;
    },
    doc: 'Lowest versions of clients, by the client_name of their Hello; the sessions of older clients are refused with CLIENT_TOO_OLD. "*=1.2" is the rule for all clients without a rule of their own, and refuses clients that do not tell their version. Versions are compared number by number.',
  }),
  clientTooOldText: setting.text({
    live: true,
    default: "",
    form: {
      name: "sentence of at most 512 characters",
      plural: "sentences of at most 512 characters",
      example: "Please update the app.",
      allows: (text) => [...text].length <= 512,
    },
    doc: "Text that a client which is too old shows to its user.",
  }),
  upgradeUrl: setting.text({
    live: true,
    default: "",
    form: {
      name: "URL of at most 2,048 characters, http or https",
      plural: "URLs of at most 2,048 characters, http or https",
      example: "https://example.org/update",
      allows: (text) => text.length <= 2_048 && /^https?:$/.test(URL.parse(text)?.protocol ?? ""),
    },
    doc: "Address of a newer client, for clients that are too old.",
  }),
};
