// A real OpenID Connect provider for the tests. argv: where the browser comes back to. Tells its port as one line.
import { createServer } from "node:http";
import { generateKeyPairSync } from "node:crypto";
import { Provider } from "oidc-provider";

const people = { ada: ["backup-admins", "team"], bob: ["team"], eve: ["strangers"], "<b>x</b>": ["team"] };
const server = createServer();
server.listen(0, "127.0.0.1", () => {
  const { port } = server.address();
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const provider = new Provider(`http://127.0.0.1:${port}`, {
    clients: [{ client_id: "daybreak", client_secret: process.env.OIDC_SECRET, redirect_uris: [process.argv[2]] }],
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, preferred_username: id, realm_access: { roles: people[id] ?? [] } }),
    }),
    claims: { openid: ["sub", "realm_access"], profile: ["preferred_username"], email: ["email"] },
    conformIdTokenClaims: false,
    pkce: { required: () => true },
    jwks: { keys: [{ ...privateKey.export({ format: "jwk" }), use: "sig", alg: "RS256", kid: "one" }] },
    cookies: { keys: ["only", "tests"] },
    features: { devInteractions: { enabled: true } },
    ttl: { AccessToken: 60, AuthorizationCode: 60, IdToken: 60, Grant: 600, Interaction: 600, Session: 600 },
  });
  server.on("request", provider.callback());
  process.stdout.write(`${port}\n`);
});
