// The strict peer: oidc-provider, with clients and switches for our tests.
//
// What would surprise: rotation with reuse detection is on unless told otherwise, and any login
// name is accepted with any password. README.md beside this file lists the switches.

import { appendFileSync, readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const installed = fileURLToPath(new URL('../../.cache/peers/npm/', import.meta.url));
const { Provider } = createRequire(installed)('oidc-provider');

const { values: args } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    events: { type: 'string' },
    rotate: { type: 'string', default: 'on' },
    'access-ttl': { type: 'string', default: '60' },
    'refresh-ttl': { type: 'string', default: '3600' },
    'redirect-uri': { type: 'string', multiple: true, default: ['http://127.0.0.1/cb'] },
    cert: { type: 'string' },
    key: { type: 'string' },
    jwks: { type: 'string' },
    tied: { type: 'boolean', default: false },
  },
});

// A secret that shows who encodes what, and how.
const SECRET = 's3cr3t:+/%~&=';

const SCOPES = ['openid', 'offline_access', 'campaigns:read', 'campaigns:write'];

function note(event, more = {}) {
  if (args.events) {
    appendFileSync(args.events, `${JSON.stringify({ at: Date.now(), event, ...more })}\n`);
  }
}

function clients() {
  const web = {
    redirect_uris: args['redirect-uri'],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    // Only native applications may have a loopback redirect URI; its port is then free.
    application_type: 'native',
    scope: SCOPES.join(' '),
  };
  return [
    { ...web, client_id: 'conf', client_secret: SECRET },
    { ...web, client_id: 'post', client_secret: SECRET, token_endpoint_auth_method: 'client_secret_post' },
    { ...web, client_id: 'pub', token_endpoint_auth_method: 'none' },
    {
      client_id: 'tv',
      token_endpoint_auth_method: 'none',
      grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'],
      response_types: [],
      redirect_uris: [],
      application_type: 'native',
      scope: SCOPES.join(' '),
    },
    // Its keys are in the file --jwks; nothing is fetched.
    ...args.jwks
      ? [{ ...web, client_id: 'signer', token_endpoint_auth_method: 'private_key_jwt', jwks_uri: 'https://signer.example/jwks' }]
      : [],
    {
      client_id: 'machine',
      client_secret: SECRET,
      grant_types: ['client_credentials'],
      response_types: [],
      redirect_uris: [],
      scope: 'campaigns:read campaigns:write',
    },
  ];
}

function configuration() {
  const rotate = { on: true, off: false }[args.rotate];
  return {
    clients: clients(),
    scopes: SCOPES,
    fetch: () => new Response(readFileSync(args.jwks), {
      headers: { 'content-type': 'application/json', 'cache-control': 'no-store' },
    }),
    ...(rotate === undefined ? {} : { rotateRefreshToken: rotate }),
    cookies: { keys: ['only for tests'] },
    ttl: {
      AccessToken: Number(args['access-ttl']),
      ClientCredentials: Number(args['access-ttl']),
      RefreshToken: Number(args['refresh-ttl']),
      AuthorizationCode: 60,
      Grant: 86400,
      Interaction: 600,
      Session: 86400,
    },
    features: {
      devInteractions: { enabled: true },
      revocation: { enabled: true },
      introspection: { enabled: true },
      clientCredentials: { enabled: true },
      deviceFlow: { enabled: true },
      pushedAuthorizationRequests: { enabled: true },
    },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  };
}

// What the wire answer hides: why a grant died, and what was asked in which order. No token, code
// or secret is written: an opaque token's id is the token itself.
function listen(provider, grants) {
  const of = (token) => ({ grant: token.grantId, client: token.clientId });
  provider.on('grant.saved', (grant) => grants.add(grant.jti));
  provider.on('grant.revoked', (_, grantId) => note('grant.revoked', { grant: grantId }));
  provider.on('authorization_code.consumed', (code) => note('authorization_code.consumed', of(code)));
  provider.on('refresh_token.saved', (token) => note('refresh_token.saved', of(token)));
  provider.on('refresh_token.consumed', (token) => note('refresh_token.consumed', of(token)));
  provider.on('refresh_token.destroyed', (token) => note('refresh_token.destroyed', of(token)));
  provider.on('access_token.destroyed', (token) => note('access_token.destroyed', of(token)));
  for (const event of ['grant.error', 'authorization.error', 'revocation.error', 'introspection.error', 'server_error']) {
    provider.on(event, (ctx, error) => note(event, {
      client: ctx.oidc?.client?.clientId,
      grant_type: ctx.oidc?.params?.grant_type,
      error: error.error ?? error.name,
      reason: error.error_detail ?? error.message,
    }));
  }
}

async function whoami(provider, ctx) {
  const [, token] = /^bearer (.+)$/i.exec(ctx.get('authorization')) ?? [];
  const found = token && (await provider.AccessToken.find(token) ?? await provider.ClientCredentials.find(token));
  if (!found) {
    ctx.status = 401;
    ctx.set('www-authenticate', 'Bearer error="invalid_token"');
    ctx.body = { error: 'invalid_token' };
    return;
  }
  const id = found.accountId ?? found.clientId;
  ctx.body = { id, name: `Account of ${id}`, scope: found.scope ?? '' };
}

// The owner ends what was granted, behind the client's back.
async function endGrants(provider, grants, ctx) {
  for (const id of grants) {
    const grant = await provider.Grant.find(id);
    await grant?.destroy();
    note('grant.ended', { grant: id });
  }
  ctx.body = { ended: grants.size };
  grants.clear();
}

function ours(provider, grants) {
  provider.use(async (ctx, next) => {
    if (ctx.path === '/api/whoami') return whoami(provider, ctx);
    if (ctx.path === '/control/end-grants' && ctx.method === 'POST') return endGrants(provider, grants, ctx);
    await next();
    note('answer', {
      method: ctx.method,
      path: ctx.path,
      status: ctx.status,
      grant_type: ctx.oidc?.params?.grant_type,
      error: ctx.body?.error,
    });
  });
}

if (args.tied) process.stdin.on('end', () => process.exit(0)).resume();

let answer;
const tls = args.cert && { cert: readFileSync(args.cert), key: readFileSync(args.key) };
const server = tls
  ? https.createServer(tls, (request, response) => answer(request, response))
  : http.createServer((request, response) => answer(request, response));
server.listen(Number(args.port), '127.0.0.1', () => {
  const { port } = server.address();
  const provider = new Provider(`${tls ? 'https' : 'http'}://127.0.0.1:${port}`, configuration());
  const grants = new Set();
  listen(provider, grants);
  ours(provider, grants);
  answer = provider.callback();
  console.log(`ready ${port}`);
});
