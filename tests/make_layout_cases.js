// Prints tests/layout_cases.h: ids and texts that Hugging Face's tokenizers make with one model and
// many normalizers, pre-tokenizers and decoders.
//
// Usage: npm i tokenizers@0.23.2 && node tests/make_layout_cases.js > tests/layout_cases.h
const {Tokenizer} = require('tokenizers');

const ADDED = [
  {id: 0, content: '<unk>', special: true},
  {id: 30, content: '<s>', lstrip: true, special: true},
  {id: 31, content: '[x]', single_word: true, rstrip: true},
  {id: 32, content: 'Ab', normalized: true},
];
const flags = (token) => ({single_word: false, lstrip: false, rstrip: false, normalized: false,
  special: false, ...token});
const CHARACTERS = ['<unk>', '\u2581', ' ', 'a', 'b', 'c', 'A', 'B', '1', '2', '.', ',', '\u00e9',
  'e', '\u0301', '\u4f60', '\n', 'f', 'i', '-'];
const PAIRS = [['a', 'b'], ['\u2581', 'a'], ['\u2581a', 'b'], ['ab', 'c'], ['1', '2'],
  ['\u2581', '\u2581'], [' ', ' '], ['b', 'a'], ['.', '.'], ['e', '\u0301']];
const TOKENS = [...CHARACTERS, ...PAIRS.map((pair) => pair.join(''))];
const BPE = {type: 'BPE', dropout: null, unk_token: '<unk>', continuing_subword_prefix: null,
  end_of_word_suffix: null, fuse_unk: true, byte_fallback: false, ignore_merges: false,
  vocab: Object.fromEntries(TOKENS.map((text, id) => [text, id])), merges: PAIRS};
const UNIGRAM = {type: 'Unigram', unk_id: 0, byte_fallback: false,
  vocab: TOKENS.map((text, id) => [text, id === 0 ? 0 : -(id * 7 % 13 + 1 + id / 32)])};

const replace = (from, to) => ({type: 'Replace', pattern: from, content: to});
const mark = replace({String: ' '}, '\u2581');
const sequence = (list, key) => ({type: 'Sequence', [key]: list});
const NORMALIZERS = [
  null, {type: 'NFC'}, {type: 'NFD'}, {type: 'NFKC'}, {type: 'Lowercase'}, mark,
  {type: 'StripAccents'}, {type: 'Strip', strip_left: true, strip_right: false},
  replace({Regex: ' {2,}'}, '\u2581'), {type: 'Prepend', prepend: '\u2581'},
  sequence([{type: 'Prepend', prepend: '\u2581'}, mark], 'normalizers'),
  sequence([{type: 'NFKD'}, {type: 'Lowercase'}, {type: 'Strip', strip_left: true,
    strip_right: true}], 'normalizers'),
];
const metaspace = (scheme, split) => ({type: 'Metaspace', replacement: '\u2581',
  prepend_scheme: scheme, split});
const split = (pattern, behavior, invert = false) => ({type: 'Split', pattern, behavior, invert});
const PRE_TOKENIZERS = [
  null, metaspace('always', true), metaspace('first', false), metaspace('never', true),
  {type: 'Whitespace'}, {type: 'WhitespaceSplit'}, {type: 'Digits', individual_digits: true},
  {type: 'Digits', individual_digits: false}, {type: 'Punctuation', behavior: 'Isolated'},
  {type: 'Punctuation', behavior: 'MergedWithPrevious'}, {type: 'BertPreTokenizer'},
  {type: 'CharDelimiterSplit', delimiter: 'c'}, split({String: ' '}, 'MergedWithPrevious'),
  split({String: 'b'}, 'MergedWithNext'), split({Regex: '[ab]+'}, 'Removed', true),
  split({Regex: '\\p{L}'}, 'Contiguous'), split({String: '.'}, 'Removed'),
  sequence([{type: 'WhitespaceSplit'}, metaspace('first', false)], 'pretokenizers'),
];
const toSpace = replace({String: '\u2581'}, ' ');
const DECODERS = [
  metaspace('always', true), metaspace('never', true),
  sequence([toSpace, {type: 'ByteFallback'}, {type: 'Fuse'},
    {type: 'Strip', content: ' ', start: 1, stop: 0}], 'decoders'),
  sequence([toSpace, {type: 'Strip', content: ' ', start: 0, stop: 1}, {type: 'Fuse'}], 'decoders'),
];
const TEXTS = ['ab  abc 12,e\u0301 <s>a[x] Ab', ' \u00e9A B..12 \u4f60ba\nab [x]. c', 'xy  <s>ab\ufb01 -Ab-1'];

// JSON of ASCII characters in a raw string.
const raw = (value) => 'R"(' + JSON.stringify(value).replace(/[^ -~]/g,
  (c) => '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0')) + ')"';

(async () => {
  console.log('// Printed by make_layout_cases.js; do not edit.');
  console.log('// clang-format off');
  console.log(`constexpr const char* kAdded = ${raw(ADDED.map(flags))};`);
  for (const [name, model] of [['kBpe', BPE], ['kUnigram', UNIGRAM]])
    console.log(`constexpr const char* ${name} = ${raw(model)};`);
  console.log('constexpr LayoutCase kCases[] = {');
  let number = 0;
  for (const pre of PRE_TOKENIZERS) {
    for (const normalizer of NORMALIZERS) {
      const model = ++number % 3 === 0 ? 'kUnigram' : 'kBpe';
      if (number % 2 === 0 && normalizer !== null && pre !== null) continue;  // enough of them
      const decoder = DECODERS[number % DECODERS.length];
      const tokenizer = Tokenizer.fromString(JSON.stringify({version: '1.0', truncation: null,
        padding: null, added_tokens: ADDED.map(flags), normalizer, pre_tokenizer: pre,
        post_processor: null, decoder, model: model === 'kBpe' ? BPE : UNIGRAM}));
      const text = TEXTS[number % TEXTS.length];
      const ids = (await tokenizer.encode(text)).getIds();
      console.log(`  {${model}, ${raw(normalizer)}, ${raw(pre)}, ${raw(decoder)},`);
      // A token that is looked for in normalized text: what it decodes to changed between versions.
      const decoded = await tokenizer.decode(ids.filter((id) => id !== 32), true);
      console.log(`   ${raw(text)}, "${ids.join(' ')}", ${raw(decoded)}},`);
    }
  }
  console.log('};');
  console.log('// clang-format on');
})();
