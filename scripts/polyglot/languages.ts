import { join } from "node:path";
import { installed, run } from "./commands.ts";

/** A client and its conformance runner. */
export interface Language {
  readonly name: string;
  /** Installs or names what the machine lacks, then generates the committed code, if any. */
  generate(): Promise<void>;
  /** Builds the runner and runs the language's own tests. */
  build(): Promise<void>;
  /** Command line of the runner. */
  readonly runner: readonly [program: string, ...args: string[]];
}

const root = join(import.meta.dirname, "../..");
const clients = join(root, "clients");
/** Tools and build results, kept between runs. */
const cache = join(root, "data/polyglot");
const contract = join(clients, "lucky.binpb");

/** Versions of the plugins that generate code. They are those of the libraries in clients/go/go.mod. */
const GO_PLUGINS = [
  "google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12",
  "connectrpc.com/connect/cmd/protoc-gen-connect-go@v1.21.1",
];

const typescript: Language = {
  name: "typescript",
  // npm run generate and npm run check do this.
  generate: async () => {},
  build: async () => {},
  runner: [
    process.execPath,
    "--disable-warning=ExperimentalWarning",
    join(root, "test/conformance/main.ts"),
  ],
};

const goBin = join(cache, "go");
const goRunner = join(clients, "go/conformance");
const go: Language = {
  name: "go",
  async generate() {
    installed({
      programs: ["go"],
      packages: [],
      help: "Install Go 1.26 or later: Debian 12 has an older one. See https://go.dev/doc/install",
    });
    for (const plugin of GO_PLUGINS)
      await run("go", ["install", plugin], { env: { GOBIN: goBin, GOFLAGS: "" } });
    await run("rm", ["-rf", join(clients, "go/gen")]);
    const path = `${goBin}:${process.env.PATH}`;
    const args = ["generate", contract, "--template", "buf.gen.yaml"];
    await run("buf", args, { cwd: clients, env: { PATH: path } });
  },
  async build() {
    await run("go", ["vet", "./..."], { cwd: join(clients, "go") });
    await run("go", ["test", "./..."], { cwd: goRunner });
    await run("go", ["build", "-o", join(goBin, "conformance"), "."], { cwd: goRunner });
  },
  runner: [join(goBin, "conformance")],
};

const python = join(cache, "python");
const pythonBin = join(python, "bin/python");
const pythonClient = join(clients, "python");
const pythonLanguage: Language = {
  name: "python",
  async generate() {
    installed({
      programs: ["python3"],
      packages: ["python3", "python3-venv"],
      help: "Install Python 3.11 or later with venv.",
    });
    await run("python3", ["-m", "venv", python]);
    const requirements = join(pythonClient, "requirements.txt");
    const pip = ["-m", "pip", "install", "--quiet", "--require-hashes", "-r", requirements];
    await run(pythonBin, pip);
    await run(pythonBin, [join(pythonClient, "generate.py"), contract, pythonClient]);
  },
  async build() {
    await run(pythonBin, ["-m", "compileall", "-q", pythonClient]);
  },
  runner: [pythonBin, join(pythonClient, "conformance/main.py")],
};

const java = join(clients, "java");
const javaLanguage: Language = {
  name: "java",
  async generate() {
    installed({
      programs: ["javac", "mvn"],
      packages: ["openjdk-17-jdk-headless", "maven"],
      help: "Install JDK 17 or later and Maven 3.8 or later.",
    });
  },
  async build() {
    await run("mvn", ["-q", "-B", "-ntp", "package"], { cwd: java });
  },
  runner: [
    "java",
    "-cp",
    ["classes", "test-classes", "lib/*"].map((part) => `${java}/target/${part}`).join(":"),
    "im.lucky.conformance.Main",
  ],
};

export const languages: readonly Language[] = [typescript, go, pythonLanguage, javaLanguage];
export { clients, contract, root };
