/** Encrypts keys (AES-GCM) with a WebCrypto key whose bytes no script can read. */

export interface Sealed {
  readonly iv: Uint8Array<ArrayBuffer>;
  readonly data: ArrayBuffer;
}

export interface Sealer {
  /** `context` is not secret. What is sealed with one context can only be opened with the same one. */
  seal(text: string, context: string): Promise<Sealed>;
  open(sealed: Sealed, context: string): Promise<string>;
}

const IV_BYTES = 12;

export const makeWrappingKey = (): Promise<CryptoKey> =>
  crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);

export function aesSealer(key: CryptoKey): Sealer {
  return {
    async seal(text, context) {
      const iv = crypto.getRandomValues(new Uint8Array(IV_BYTES));
      const data = await crypto.subtle.encrypt(algorithm(iv, context), key, bytes(text));
      return { iv, data };
    },
    async open({ iv, data }, context) {
      return new TextDecoder().decode(await crypto.subtle.decrypt(algorithm(iv, context), key, data));
    },
  };
}

const algorithm = (iv: Uint8Array<ArrayBuffer>, context: string): AesGcmParams => ({
  name: "AES-GCM",
  iv,
  additionalData: bytes(context),
});

const bytes = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);
