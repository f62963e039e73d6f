declare module "*?spoken" {
  const spoken: never;
  export default spoken;
}
