/** Colours code as it grows: each line is read once, and only the last one again. Loaded when code is shown. */

import {
  codeToTokensWithThemes,
  createShikiInternal,
  type GrammarState,
  getLastGrammarState,
  type ShikiPrimitive,
  type ThemedTokenWithVariants,
} from "@shikijs/core";
import { createJavaScriptRegexEngine } from "@shikijs/engine-javascript";
import dark from "@shikijs/themes/github-dark-default";
import light from "@shikijs/themes/github-light-default";
import { loadGrammar } from "./grammars";

export interface Token {
  readonly text: string;
  /** A CSS colour for both themes, or undefined for the text's own. */
  readonly color: string | undefined;
  readonly italic: boolean;
}

export type Lines = readonly (readonly Token[])[];

const THEMES = { light: light.name ?? "light", dark: dark.name ?? "dark" };
const ITALIC = 1;
/** One long line is left as it is: a minified file would hold up the page. */
const LONGEST_LINE = 2000;

let engine: Promise<ShikiPrimitive> | null = null;

/** JavaScript's own regular expressions: the policy of the page allows no WebAssembly. */
function shiki(): Promise<ShikiPrimitive> {
  engine ??= createShikiInternal({
    themes: [light, dark],
    langs: [],
    engine: createJavaScriptRegexEngine({ forgiving: true }),
  });
  return engine;
}

function token({ content, variants }: ThemedTokenWithVariants): Token {
  const day = variants.light?.color;
  const night = variants.dark?.color;
  return {
    text: content,
    color: day && night ? `light-dark(${day}, ${night})` : undefined,
    italic: ((variants.light?.fontStyle ?? 0) & ITALIC) !== 0,
  };
}

export class Highlighter {
  private readonly shiki: ShikiPrimitive;
  private readonly lang: string;
  /** The whole lines that are read already, their colours, and where the grammar stands after them. */
  private text = "";
  private lines: (readonly Token[])[] = [];
  private state: GrammarState | undefined;

  private constructor(primitive: ShikiPrimitive, lang: string) {
    this.shiki = primitive;
    this.lang = lang;
  }

  static async load(grammar: string): Promise<Highlighter> {
    const primitive = await shiki();
    if (!primitive.getLoadedLanguages().includes(grammar)) {
      primitive.loadLanguageSync(await loadGrammar(grammar));
    }
    return new Highlighter(primitive, grammar);
  }

  /** The coloured lines of `code`. Code that begins as it did the last time costs only what is new. */
  highlight(code: string): Lines {
    if (!code.startsWith(this.text)) {
      this.text = "";
      this.lines = [];
      this.state = undefined;
    }
    const end = code.lastIndexOf("\n") + 1;
    if (end > this.text.length) {
      const fresh = this.read(code.slice(this.text.length, end - 1));
      this.lines = [...this.lines, ...fresh.lines];
      this.state = fresh.state;
      this.text = code.slice(0, end);
    }
    const last = code.slice(end);
    return last === "" ? this.lines : [...this.lines, ...this.read(last).lines];
  }

  private read(text: string): { lines: (readonly Token[])[]; state: GrammarState | undefined } {
    const tokens = codeToTokensWithThemes(this.shiki, text, {
      lang: this.lang,
      themes: THEMES,
      tokenizeMaxLineLength: LONGEST_LINE,
      ...(this.state ? { grammarState: this.state } : {}),
    });
    return { lines: tokens.map((line) => line.map(token)), state: getLastGrammarState(this.shiki, tokens) };
  }
}
