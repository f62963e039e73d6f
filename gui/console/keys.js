// Text as the keys of a US keyboard. QEMU hands on physical keys, so Hangul goes as the keys that a two-set (dubeolsik)
// keyboard has for it: the guest's own input method makes syllables of them again.

const PLAIN = "`1234567890-=[]\\;',./ \t\n";
const SHIFTED = '~!@#$%^&*()_+{}|:"<>?';
const CODES = [
  "Backquote", ..."1234567890".split("").map((digit) => `Digit${digit}`), "Minus", "Equal", "BracketLeft", "BracketRight",
  "Backslash", "Semicolon", "Quote", "Comma", "Period", "Slash", "Space", "Tab", "Enter",
];

const INITIALS = "r R s e E f a q Q t T d w W c z x v g".split(" ");
const VOWELS = "k o i O j p u P h hk ho hl y n nj np nl b m ml l".split(" ");
const FINALS = " r R rt s sw sg e f fr fa fq ft fx fv fg a q qt t T d w c z x v g".split(" ");
// Letters on their own, U+3131 to U+3163: the consonants in the alphabet's order, then the vowels.
const LETTERS = [..."r R rt s sw sg e E f fr fa fq ft fx fv fg a q Q qt t T d w W c z x v g".split(" "), ...VOWELS];

/** The two-set keys of a Hangul syllable or letter; null for any other character. */
export function twoSet(character) {
  const point = character.codePointAt(0);
  if (point >= 0xac00 && point <= 0xd7a3) {
    const place = point - 0xac00;
    return INITIALS[Math.floor(place / 588)] + VOWELS[Math.floor((place % 588) / 28)] + FINALS[place % 28];
  }
  return LETTERS[point - 0x3131] ?? null;
}

/** A key of a US keyboard as {keysym, code, shift}; null when it has none for the character. */
export function usKey(character) {
  const keysym = { "\n": 0xff0d, "\t": 0xff09 }[character] ?? character.codePointAt(0);
  if (/^[a-z]$/i.test(character)) {
    return { keysym, code: `Key${character.toUpperCase()}`, shift: character !== character.toLowerCase() };
  }
  const plain = PLAIN.indexOf(character);
  if (plain >= 0) return { keysym, code: CODES[plain], shift: false };
  const shifted = SHIFTED.indexOf(character);
  return shifted >= 0 ? { keysym, code: CODES[shifted], shift: true } : null;
}

export const HANGUL = { keysym: 0xff31, code: "Lang1", shift: false };
export const HANJA = { keysym: 0xff34, code: "Lang2", shift: false };

/**
 * All keys for a text, and how many characters no key was found for. With `toggle` the 한/영 key is pressed where the
 * text goes over to Hangul and back; it takes the guest to be in Latin letters at the beginning.
 */
export function keysFor(text, toggle = false) {
  const keys = [];
  let skipped = 0;
  let hangul = false;
  for (const character of text.normalize("NFC").replace(/\r\n?/g, "\n")) {
    const letters = twoSet(character);
    if (toggle && (letters !== null) !== hangul && (letters !== null || /[a-z]/i.test(character))) {
      keys.push(HANGUL);
      hangul = !hangul;
    }
    const found = [...(letters ?? character)].map(usKey);
    if (found.includes(null)) skipped += 1;
    else keys.push(...found);
  }
  if (hangul) keys.push(HANGUL);
  return { keys, skipped };
}
