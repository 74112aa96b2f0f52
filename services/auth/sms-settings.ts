import { setting } from "#platform/config/config.ts";

/** Settings of codes by SMS, part of auth's table. */
export const smsSettings = {
  smsSender: setting.choice(["console", "http"], {
    default: "console",
    doc: "Adapter that sends codes: console prints them and is for development only; http posts them to smsUrl.",
  }),
  smsUrl: setting.text({
    default: "",
    secret: true,
    doc: "URL that the http sender posts messages to. The http sender needs it.",
  }),
  smsSecret: setting.text({
    default: "",
    secret: true,
    minLength: 16,
    doc: "Key with which the http sender signs its requests (HMAC-SHA256). The http sender needs it.",
  }),
  smsTemplate: setting.text({
    live: true,
    default: "{code} is your Lucky code. It is good for {minutes} minutes. Tell it to nobody.",
    doc: "Text of a message. {code} and {minutes} are replaced by the code and its lifetime.",
  }),
  smsCodeSeconds: setting.integer({
    default: 300,
    min: 10,
    max: 3600,
    unit: "s",
    doc: "Lifetime of a code.",
  }),
  smsCodeAttempts: setting.integer({
    live: true,
    default: 5,
    min: 1,
    max: 100,
    unit: "guesses",
    doc: "Maximum wrong guesses of a code. After one more the code is exhausted, and the user needs a new one.",
  }),
  smsResendSeconds: setting.integer({
    live: true,
    default: 60,
    min: 0,
    max: 3600,
    unit: "s",
    doc: "Minimum time between two codes to one number; an earlier request is refused with RATE_LIMITED.",
  }),
  smsPerNumberPerHour: setting.integer({
    live: true,
    default: 5,
    min: 1,
    max: 100000,
    unit: "codes",
    doc: "Maximum codes to one number in an hour; further requests are refused with RATE_LIMITED.",
  }),
  smsPerNumberPerDay: setting.integer({
    live: true,
    default: 10,
    min: 1,
    max: 100000,
    unit: "codes",
    doc: "Maximum codes to one number in a day; further requests are refused with RATE_LIMITED.",
  }),
  smsPerAddressPerHour: setting.integer({
    live: true,
    default: 30,
    min: 1,
    max: 1000000,
    unit: "codes",
    doc: "Maximum codes that one address may request in an hour; further requests are refused with RATE_LIMITED.",
  }),
  smsPerDay: setting.integer({
    live: true,
    default: 100000,
    min: 1,
    max: 100000000,
    unit: "codes",
    doc: "Maximum codes sent in a day to all numbers together; further requests are refused with RATE_LIMITED. It bounds the cost of an attack.",
  }),
  smsNewNumbersPercent: setting.integer({
    live: true,
    default: 50,
    min: 0,
    max: 100,
    unit: "%",
    doc: "Share of smsPerDay for codes that may go to numbers without an account: those for registering and for binding a number. Further ones are refused with RATE_LIMITED, and the rest of smsPerDay stays for logins and password resets. With 0 nobody registers by number.",
  }),
  smsCountries: setting.list({
    live: true,
    default: [],
    items: { plural: "calling codes such as +49", allows: (item) => /^\+[1-9]\d{0,6}$/.test(item) },
    doc: "Country calling codes, or longer prefixes of numbers, to which codes are sent. A request for any other number is refused with PHONE_INVALID, also for a number that has an account. Empty: codes are sent to all countries.",
  }),
};
