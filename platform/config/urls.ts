/** Form of a setting's text: its name, in the singular and the plural, and its check. */
export interface Form {
  readonly name: string;
  readonly plural: string;
  /** A valid text. */
  readonly example: string;
  readonly allows: (text: string) => boolean;
}

function urlOf(system: string, schemes: readonly string[], rest: string): Form {
  const protocols = new Set(schemes.map((scheme) => `${scheme}:`));
  return {
    name: `URL of ${system}`,
    plural: `URLs of ${system}`,
    example: `${schemes[0]}://${rest}`,
    allows(text) {
      // PostgreSQL allows an empty host, for a Unix socket: postgresql://user@/database?host=/folder
      const url = URL.parse(text.replace("@/", "@localhost/"));
      return url !== null && protocols.has(url.protocol);
    },
  };
}

export const POSTGRES_URL = urlOf(
  "PostgreSQL",
  ["postgresql", "postgres"],
  "user:password@host:5432/database",
);
export const OTLP_URL = urlOf("an OTLP collector", ["http", "https"], "collector:4318");
export const REDIS_URL = urlOf("Redis", ["redis", "rediss"], ":password@host:6379");
export const RABBITMQ_URL = urlOf("RabbitMQ", ["amqp", "amqps"], "user:password@host:5672");
