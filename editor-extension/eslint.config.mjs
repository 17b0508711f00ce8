import tseslint from "typescript-eslint";

export default tseslint.config({ ignores: ["dist/", "src/protocol.ts"] }, ...tseslint.configs.recommended, {
  languageOptions: {
    parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
  },
  rules: {
    "@typescript-eslint/no-floating-promises": "error",
    "@typescript-eslint/no-misused-promises": ["error", { checksVoidReturn: false }],
    "max-lines": ["error", 200],
    "max-lines-per-function": ["error", 60],
  },
});
