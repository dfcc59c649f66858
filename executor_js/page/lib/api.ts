/** Calls the native HTTP face; every failure is an `ApiError` with a sentence for a person. */

import type {
  Account,
  Chat,
  ChatPage,
  ChatPatch,
  ErrorBody,
  ExecutorPage,
  Link,
  LinkOwner,
  MessageAt,
  MessagePage,
  ModelPage,
  NewRun,
  SignInPage,
  Started,
} from "../../src/index";

export class ApiError extends Error {
  readonly code: string;
  readonly retryable: boolean;
  readonly status: number;

  constructor(code: string, message: string, retryable: boolean, status: number) {
    super(message);
    this.code = code;
    this.retryable = retryable;
    this.status = status;
  }
}

/** Any thrown thing as a sentence. */
export function sentence(error: unknown): string {
  if (error instanceof Error) return error.message;
  if (
    typeof error === "object" &&
    error !== null &&
    "message" in error &&
    typeof error.message === "string"
  ) {
    return error.message;
  }
  return "Something went wrong.";
}

let onSignedOut: () => void = () => {};

/** Tells `listener` when the server answers 401: the sign-in was revoked or has expired. */
export function whenSignedOut(listener: () => void): void {
  onSignedOut = listener;
}

type Method = "GET" | "POST" | "PATCH" | "DELETE";

async function send(method: Method, path: string, body: unknown): Promise<Response> {
  const init: RequestInit = { method, credentials: "same-origin", cache: "no-store" };
  if (body !== undefined) {
    init.headers = { "Content-Type": "application/json" };
    init.body = JSON.stringify(body);
  }
  try {
    return await fetch(path, init);
  } catch {
    throw new ApiError("offline", "The server cannot be reached. Check the network and try again.", true, 0);
  }
}

async function failure(response: Response): Promise<ApiError> {
  const { status } = response;
  try {
    const { error } = (await response.json()) as Partial<ErrorBody>;
    if (error) return new ApiError(error.code, error.message, error.retryable, status);
  } catch {
    // Not JSON: a proxy's page, for example.
  }
  return new ApiError("internal", `The server answered with status ${status}.`, status >= 500, status);
}

async function call<T>(method: Method, path: string, body?: unknown): Promise<T> {
  const response = await send(method, path, body);
  if (!response.ok) {
    const error = await failure(response);
    if (error.code === "unauthorized") onSignedOut();
    throw error;
  }
  // A call that answers with nothing is typed `void` by its caller.
  return (response.status === 204 ? undefined : await response.json()) as T;
}

const query = (params: Record<string, string | number | null>): string => {
  const set = Object.entries(params).filter(([, value]) => value !== null);
  return new URLSearchParams(set.map(([key, value]) => [key, String(value)])).toString();
};

export const api = {
  me: () => call<Account>("GET", "/api/auth/me"),
  linkOwner: (code: string) => call<LinkOwner>("POST", "/api/auth/links/check", { code }),
  redeem: (code: string) => call<unknown>("POST", "/api/auth/redeem", { code }),
  logout: () => call<void>("POST", "/api/auth/logout"),
  newLink: () => call<Link>("POST", "/api/auth/links"),
  signIns: () => call<SignInPage>("GET", "/api/auth/sessions"),
  revoke: (id: string) => call<void>("DELETE", `/api/auth/sessions/${encodeURIComponent(id)}`),

  chats: (cursor: string | null) => call<ChatPage>("GET", `/api/chats?${query({ limit: 50, cursor })}`),
  newChat: (title: string) => call<Chat>("POST", "/api/chats", { title }),
  patchChat: (id: number, patch: ChatPatch) => call<Chat>("PATCH", `/api/chats/${id}`, patch),
  deleteChat: (id: number) => call<void>("DELETE", `/api/chats/${id}`),
  branch: (id: number, leaf: string, cursor: string | null) =>
    call<MessagePage>("GET", `/api/chats/${id}/messages?${query({ branch: leaf, cursor })}`),
  message: (id: number, message: string) =>
    call<MessageAt>("GET", `/api/chats/${id}/messages/${encodeURIComponent(message)}`),

  startRun: (chat: number, run: NewRun) => call<Started>("POST", `/api/chats/${chat}/runs`, run),
  stopRun: (id: string) => call<unknown>("POST", `/api/runs/${encodeURIComponent(id)}/stop`),

  models: () => call<ModelPage>("GET", "/api/models"),
  executors: () => call<ExecutorPage>("GET", "/api/executors"),
  forget: (id: string) => call<void>("DELETE", `/api/executors/${encodeURIComponent(id)}`),
};
