/** Style sheets are put beside the script by the build. */
declare module '*.css'
