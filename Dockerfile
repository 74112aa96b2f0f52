# One image for every service: the command says which.
FROM node:22-slim
ENV NODE_ENV=production
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev && npm cache clean --force
COPY gen gen
COPY prisma prisma
COPY platform platform
COPY services services
RUN mkdir data && chown node:node data
USER node
# Inside a container the address to listen on is the container's own.
ENV LUCKY_HOST=0.0.0.0
EXPOSE 9191
CMD ["node", "--disable-warning=ExperimentalWarning", "services/all.ts"]
