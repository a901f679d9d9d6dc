/** What the API says of itself. */
export interface Operation {
  method: string;
  path: string;
  security?: object[];
  parameters?: { name: string; in: string }[];
  responses: Record<string, object>;
}

/** Every operation in the served OpenAPI document. */
export async function readOperations(url: string): Promise<Operation[]> {
  const document: { paths: Record<string, Record<string, Omit<Operation, 'method' | 'path'>>> } = JSON.parse(
    await (await fetch(`${url}/openapi.json`)).text(),
  );
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ method: method.toUpperCase(), path, ...operation })),
  );
}
